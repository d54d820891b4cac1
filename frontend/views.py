"""Tensors that a checkpoint stores as parts of larger ones, or the other way around: shown as the graph wants them.

A view changes no number: rows keep their format and their bytes, or a dense matrix is transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.ir.quant import DenseFormat

ALL_ROWS = slice(None)


@dataclass(frozen=True)
class View:
    """Some rows of the matrices of a stack, as the tensor [E, n, K] or, flat, [E * n, K].

    source      the stored tensor; its last dimension is a row's
    matrices    E: how many matrices it is cut into, one after the other
    rows        which rows of each are taken
    transposed  each matrix is stored with rows and columns exchanged; `rows` counts after the exchange
    """

    source: Tensor
    tensor: Tensor
    matrices: int
    rows: slice
    transposed: bool

    @property
    def parts(self) -> Mapping[str, Tensor]:
        return {"source": self.source}

    def assemble(self, read: Callable[[Tensor], Bytes]) -> Bytes:
        """The bytes of the tensor: u8 [nbytes]."""
        return np.concatenate([*self.pieces(read)])

    def pieces(self, read: Callable[[Tensor], Bytes]) -> Iterator[Bytes]:
        """The same, matrix by matrix."""
        columns, fmt = self.source.shape[-1], self.source.format
        element = fmt.nbytes if self.transposed else fmt.row_bytes(columns)
        stored = read(self.source).view(f"V{element}").reshape(self.matrices, -1, columns if self.transposed else 1)
        for matrix in stored:
            shown = matrix.T if self.transposed else matrix
            yield np.ascontiguousarray(shown[self.rows]).reshape(-1).view(np.uint8)


def view(
    source: Tensor, name: str, *, matrices: int = 1, rows: slice = ALL_ROWS, transposed: bool = False, flat: bool = False
) -> View:
    """A view of `source` called `name`. Raises MalformedFileError or UnsupportedModelError naming the tensor where the source
    cannot be cut like that."""
    stored_rows, rest = divmod(math.prod(source.shape[:-1]), matrices)
    if len(source.shape) < 2 or rest:
        raise MalformedFileError(f"tensor {source.name} of shape {list(source.shape)} is no stack of {matrices} matrices")
    if transposed and not isinstance(source.format, DenseFormat):
        raise UnsupportedModelError(f"tensor {source.name} of type {source.format.name} would have to be transposed")
    if source.columns is not None or source.scales is not None:
        raise UnsupportedModelError(f"tensor {source.name}: a part of a weight with columns in act-order or factors of its own")
    n, k = (source.shape[-1], stored_rows) if transposed else (stored_rows, source.shape[-1])
    n = len(range(*rows.indices(n)))
    shape = (matrices * n, k) if flat else (matrices, n, k)
    tensor = replace(source, name=name, shape=shape, nbytes=matrices * n * source.format.row_bytes(k))
    return View(source, tensor, matrices, rows, transposed)


def vectors(source: Tensor, name: str, rows: slice) -> View:
    """The elements `rows` of each vector of [E, N], as [E, n]. Raises MalformedFileError naming the tensor."""
    if len(source.shape) != 2:
        raise MalformedFileError(f"tensor {source.name} of shape {list(source.shape)} is no list of vectors")
    shown = view(replace(source, shape=(*source.shape, 1)), name, matrices=source.shape[0], rows=rows)
    return replace(shown, tensor=replace(shown.tensor, shape=shown.tensor.shape[:2]))


def fused_experts(
    tensors: Mapping[str, Tensor], module: str, layers: int, *, transposed: bool, interleaved: bool = False,
    fused: str = "gate_up_proj", last: str = "down_proj",
) -> dict[str, View]:  # fmt: skip
    """The gates and ups of experts that share a tensor [E, 2F, C], and their downs, as tensors of their own.

    module: what holds them, {i} for the layer: "model.layers.{i}.mlp.experts", which has `fused` and `last`; the parts are its
    gate_proj.weight, up_proj.weight and down_proj.weight. A dense tensor may be `transposed`, [E, C, 2F]. Gates are the first
    half of the rows, or with `interleaved` every second.
    """
    shown: dict[str, View] = {}
    for name in (module.format(i=i) for i in range(layers)):
        gate_up, down = tensors.get(f"{name}.{fused}"), tensors.get(f"{name}.{last}")
        for source, parts in ((gate_up, ("gate_proj", "up_proj")), (down, ("down_proj",))):
            if source is None or len(source.shape) != 3:
                continue
            exchanged = transposed and isinstance(source.format, DenseFormat)
            rows = halves(source.shape[2 if exchanged else 1], interleaved) if len(parts) == 2 else (ALL_ROWS,)
            for part, of_part in zip(parts, rows, strict=True):
                full = f"{name}.{part}.weight"
                shown[full] = view(source, full, matrices=source.shape[0], rows=of_part, transposed=exchanged)
    return shown


def gguf_fused_experts(tensors: Mapping[str, Tensor], layers: int) -> dict[str, View]:
    """The same of GGUF files that keep gates and ups in one tensor, the gates first, under the names of those that do not."""
    shown: dict[str, View] = {}
    for i in range(layers):
        source = tensors.get(f"blk.{i}.ffn_gate_up_exps.weight")
        if source is None or len(source.shape) != 3:
            continue
        for part, rows in zip(("gate", "up"), halves(source.shape[1], interleaved=False), strict=True):
            name = f"blk.{i}.ffn_{part}_exps.weight"
            shown[name] = view(source, name, matrices=source.shape[0], rows=rows)
    return shown


def halves(rows: int, interleaved: bool) -> tuple[slice, slice]:
    """Which rows of a fused matrix belong to the gate, and which to the other half."""
    return (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(0, rows // 2), slice(rows // 2, None))


def vector(source: Tensor, name: str) -> View:
    """A matrix of one row as a vector. Raises MalformedFileError naming the tensor."""
    if len(source.shape) != 2 or source.shape[0] != 1:
        raise MalformedFileError(f"tensor {source.name} of shape {list(source.shape)} is no matrix of one row")
    shown = view(source, name)
    return replace(shown, tensor=replace(shown.tensor, shape=source.shape[1:]))
