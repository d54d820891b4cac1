"""Rotary position embedding on a GPU: the table of a step, and the rotation of heads by it (codegen/kernels/rope.py)."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels import rope
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc, View
    from llmc.gpu import Device


@dataclass(frozen=True)
class GpuRopeTable:
    """table[t, 0 .. pairs) = scale * cos(a), table[t, pairs .. 2*pairs) = scale * sin(a), a = positions[t] * freqs[i] in f32."""

    @property
    def symbol(self) -> str:
        return "rope_table"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("const int32_t *positions, const float *freqs, float *table, int32_t pairs, float scale, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 64)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def body(p: SimpleNamespace, t: "Thread") -> None:
            position = tir.let(tir.convert(tir.load(p.positions, t.x), "float32"))

            def write(i: "Expr") -> None:
                cos, sin = simt.cos_sin(tir.let(position * tir.load(p.freqs, i)))
                row = t.x * (p.pairs * 2)
                tir.store(p.table, row + i, cos * p.scale)
                tir.store(p.table, row + p.pairs + i, sin * p.scale)

            t.strided(p.pairs, write)

        return simt.device_func(self, device, body)


@dataclass(frozen=True)
class GpuRope:
    """Rotates the first `rot` of the `d` features of every head of x [T, ldx], in place; table [T, rot]. A block a token."""

    d: int
    rot: int
    style: str

    def __post_init__(self) -> None:
        rope.check(self.d, self.rot, self.style)

    @property
    def symbol(self) -> str:
        return f"rope_{self.style}_d{self.d}_r{self.rot}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *table, int32_t heads, int32_t ldx, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 256)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        half = self.rot // 2

        def body(p: SimpleNamespace, t: "Thread") -> None:
            def turn(i: "Expr") -> None:
                pair = tir.let(i % half)
                start = tir.let(t.x * p.ldx + (i // half) * self.d)
                a, b = turned(p.x, p.table, start, t.x * self.rot, pair, half, self.style)
                first, second = pair_at(pair, half, self.style)
                tir.store(p.x, start + first, a)
                tir.store(p.x, start + second, b)

            t.strided(p.heads * half, turn)

        return simt.device_func(self, device, body)


def pair_at(pair: "Expr", half: int, style: str) -> tuple["Expr", "Expr"]:
    """The two features of a pair."""
    return (pair, pair + half) if style == "half" else (pair * 2, pair * 2 + 1)


def turned(x: "View", table: "View", start: "Expr", row: "Expr", pair: "Expr", half: int, style: str) -> tuple["Expr", "Expr"]:
    """The two features of a pair of the head that begins at `start` of x, turned by the table's row that begins at `row`."""
    from llmc.codegen import tir

    first, second = pair_at(pair, half, style)
    a, b = tir.let(tir.load(x, start + first)), tir.let(tir.load(x, start + second))
    cos, sin = tir.let(tir.load(table, row + pair)), tir.let(tir.load(table, row + half + pair))
    return tir.let(a * cos - b * sin), tir.let(a * sin + b * cos)
