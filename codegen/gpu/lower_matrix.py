"""Lowering of linears for devices with matrix units: activations become halves once for all that read them, and the number of
tokens of a step chooses the kernel. Other devices (s->matrix_units is 0) and formats that no tiling fits have the kernels in TIR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmc.codegen.gpu import cuda_format
from llmc.codegen.gpu.kernels.linear_mma import MANY, SUM_COLUMNS, GpuHalve, GpuLinearMma, kernels
from llmc.ir.graph import Graph, Value
from llmc.ir.storage import TILE, align
from llmc.ir.types import DType, Format

_STAGE = 64  # columns, to which rows of halves are filled with zeros

Call = Callable[..., str]  # (spec, *args) -> the statement of its launch


@dataclass
class Halves:
    """Where the halves of one value lie at a time, after the values of a step: rows, then sums, then factors.

    value  the name of the one that lies there now, and on what condition
    """

    start: int
    tokens: int
    columns: int
    value: tuple[str, str] | None = None

    @staticmethod
    def of(graph: Graph, start: int) -> Halves:
        """Room for the largest input of a linear, from byte `start`."""
        widths = [
            int(value.type.shape[-1])
            for node in graph.nodes
            for value in node.inputs
            if not isinstance(value.type.dtype, DType) and len(value.type.shape) == 2
        ]
        return Halves(start, align(max(graph.bounds.values(), default=1)), align(max(widths, default=1), _STAGE))

    @property
    def nbytes(self) -> int:
        return align(self.tokens * (self.columns * 2 + self.columns // SUM_COLUMNS * 4 + 4))

    def places(self, k: int) -> tuple[str, str, str]:
        """Addresses of halves, sums and factors of rows of `k` columns."""
        columns = align(k, _STAGE)
        sums = self.start + self.tokens * columns * 2
        factors = sums + self.tokens * columns // SUM_COLUMNS * 4
        return tuple(f"s->arena + UINT64_C({at})" for at in (self.start, sums, factors))  # type: ignore[return-value]


def worthwhile(fmt: Format, tokens: str) -> str:
    """The condition, in C, on which matrix units serve a step. Codes of scales cost more to prepare than one token repays."""
    coded = cuda_format.supported(fmt) and cuda_format.Shape.of(fmt).groups > 0
    return f"s->matrix_units && {tokens} > 1" if coded else "s->matrix_units"


def linear(
    launch: Call, halves: Halves, fmt: Format, x: Value, test: str, source: str, weight: str, bias: str, y: str,
    rows: int, ldx: int, scale: str, tokens: str,
) -> str:  # fmt: skip
    """Statements of a linear on matrix units, or nothing where the format has none.

    test: the condition around them. rows: of the weight, padded.
    """
    specs = kernels(fmt)
    if not specs:
        return ""
    k = int(x.type.shape[-1])
    ldh, places = align(k, _STAGE), halves.places(k)
    found = ""
    if halves.value != (x.name, test):
        found = launch(GpuHalve(), source, *places, k, ldx, ldh, tokens) + " "
        halves.value = x.name, test
    args = (weight, *places, bias, y, k, rows // TILE, ldh, rows, scale, tokens)
    return found + _chosen([(spec, launch(spec, *args)) for spec in specs], rows // TILE, tokens)


def _chosen(calls: list[tuple[GpuLinearMma, str]], tiles: int, tokens: str) -> str:
    """Few tokens: the first kernel that takes them all. More: the last one whose blocks fill the device, else the first."""
    few = [(spec, call) for spec, call in calls if spec.tiling not in MANY]
    many = [(spec, call) for spec, call in calls if spec.tiling in MANY]
    parts = [f"if ({tokens} <= {spec.tiling.tokens}) {call}" for spec, call in few]
    parts += [f"if ({_blocks(spec, tiles, tokens)} >= {spec.tiling.blocks} * s->processors) {call}" for spec, call in many[:0:-1]]
    return " else ".join([*parts, many[0][1]])


def _blocks(spec: GpuLinearMma, tiles: int, tokens: str) -> str:
    """Thread blocks of a launch, in C."""
    rows, each = spec.tiling.rows // 16, spec.tiling.tokens
    return f"({tokens} + {each - 1}) / {each} * {-(-tiles // rows)}"
