"""Weights that are computed from what a model directory stores, when their bytes are asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor, quoted
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import DenseFormat, dequantize

NORM: Final = re.compile(r".*(?<!linear_attn\.)norm\.weight")  # that of a gated delta rule multiplies by what is stored
MEMBER: Final = re.compile(r"^(.*\.(?:experts|norms))\.(0|[1-9][0-9]{0,4})\.(.*weight)$")


@dataclass(frozen=True)
class Rewritten:
    """A tensor as llmc wants it, computed from the bytes of the one that is stored."""

    source: Tensor
    tensor: Tensor
    compute: Callable[[Bytes], Bytes]

    @property
    def parts(self) -> Mapping[str, Tensor]:
        return {"stored": self.source}

    def assemble(self, read: Callable[[Tensor], Bytes]) -> Bytes:
        return self.compute(read(self.source))


def plus_one(source: Tensor) -> Rewritten:
    """A vector w shown as 1 + w, f32: norms of some families multiply by that. One rounding, as engines add in f32."""

    def compute(stored: Bytes) -> Bytes:
        return (np.float32(1.0) + dequantize(source.format, stored)).view(np.uint8)

    return Rewritten(source, replace(source, format=FORMATS["f32"], nbytes=4 * source.shape[0]), compute)


def norms_plus_one(tensors: Mapping[str, Tensor]) -> dict[str, Rewritten]:
    """The norms' weights by name, one added to each."""
    return {name: plus_one(t) for name, t in tensors.items() if _is_norm(t)}


def transposed(source: Tensor) -> Rewritten:
    """A matrix [K, N] shown as [N, K]: GPT-2 stores its linears as inputs times outputs."""
    if len(source.shape) != 2 or not isinstance(source.format, DenseFormat) or source.scales is not None:
        raise UnsupportedModelError(f"tensor {source.name} of type {source.format.name} has inputs first: llmc cannot turn it")
    rows, columns = source.shape

    def compute(stored: Bytes) -> Bytes:
        turned = stored.reshape(rows, columns, -1).transpose(1, 0, 2)
        return np.ascontiguousarray(turned).reshape(-1)

    return Rewritten(source, replace(source, shape=(columns, rows)), compute)


def rows_in_order(source: Tensor, order: NDArray[np.int64]) -> Rewritten:
    """A matrix or vector whose row i is row order[i] of the stored one. Raises MalformedFileError where it has other rows."""
    if source.shape[0] != len(order):
        raise MalformedFileError(f"tensor {source.name} has {source.shape[0]} rows, but the keys imply {len(order)}")
    if source.scales is not None:
        raise UnsupportedModelError(f"tensor {source.scales}: factors of rows that llmc would have to put in another order")

    def compute(stored: Bytes) -> Bytes:
        return stored.reshape(len(order), -1)[order].reshape(-1)

    return Rewritten(source, source, compute)


def negated_exp(source: Tensor) -> Rewritten:
    """-e^x of each element, f32: Mamba's decay rates, of which Hugging Face files have the logarithm."""

    def compute(stored: Bytes) -> Bytes:
        return np.asarray(-exp(dequantize(source.format, stored).astype(np.float64)), np.float32).view(np.uint8)

    return _computed(source, compute)


def scaled_rows(source: Tensor, factors: NDArray[np.float64]) -> Rewritten:
    """Each row times its factor, f32, rounded once."""
    if source.shape[0] != len(factors):
        raise MalformedFileError(f"tensor {source.name} has {source.shape[0]} rows, but the keys imply {len(factors)}")

    def compute(stored: Bytes) -> Bytes:
        rows = dequantize(source.format, stored).astype(np.float64).reshape(len(factors), -1)
        return np.asarray((rows * factors[:, None]).reshape(-1), np.float32).view(np.uint8)

    return _computed(source, compute)


def _computed(source: Tensor, compute: Callable[[Bytes], Bytes]) -> Rewritten:
    """A tensor of plain numbers, shown as f32."""
    if not isinstance(source.format, DenseFormat):
        raise UnsupportedModelError(f"tensor {source.name} is of type {source.format.name}; it must be f32, f16 or bf16")
    return Rewritten(source, replace(source, format=FORMATS["f32"], nbytes=4 * math.prod(source.shape)), compute)


_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # the first part times a small whole number is exact
_TERMS = 14


def exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """e^x, the same on every machine: sums and products alone, no libm. Relative error below 1e-15 for |x| < 700."""
    x = np.clip(x, -700.0, 700.0)
    n = np.rint(x * 1.4426950408889634)
    f = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.ones_like(f)
    for k in range(_TERMS, 0, -1):
        p = p * f / k + 1.0
    return np.ldexp(p, n.astype(np.int64))


def grouped_qkv(groups: int, queries: int, head_dim: int) -> NDArray[np.int64]:
    """Rows of a matrix stored as [groups][queries + 2][head_dim], in the order: all queries, all keys, all values."""
    rows = np.arange(groups * (queries + 2) * head_dim).reshape(groups, queries + 2, head_dim)
    return np.concatenate([rows[:, :queries].reshape(-1), rows[:, queries].reshape(-1), rows[:, queries + 1].reshape(-1)])


def _is_norm(tensor: Tensor) -> bool:
    return NORM.fullmatch(tensor.name) is not None and len(tensor.shape) == 1 and isinstance(tensor.format, DenseFormat)


@dataclass(frozen=True)
class Stack:
    """Tensors of one shape, [N, K] of experts or [D] of heads, shown as one [E, N, K]. `parts` in the order of their numbers."""

    tensor: Tensor
    parts: tuple[Tensor, ...]


def find_stacks(tensors: Mapping[str, Tensor]) -> dict[str, Stack]:
    """The stacks by name, `X.experts.w1.weight` of `X.experts.0.w1.weight` and so on, `X.norms.weight` of `X.norms.0.weight`.

    Raises MalformedFileError where a number is missing, or a member is not like the first.
    """
    members: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := MEMBER.fullmatch(name):
            members.setdefault(stack_name(name), {})[int(found[2])] = tensor
    return {name: _stack(name, experts, taken=name in tensors) for name, experts in members.items()}


def stack_name(name: str) -> str:
    """The name of the stack that a tensor of a single expert belongs to; of other tensors their own."""
    return MEMBER.sub(r"\1.\3", name)


def _stack(name: str, experts: Mapping[int, Tensor], taken: bool) -> Stack:
    missing = next((i for i in range(len(experts)) if i not in experts), None)
    if missing is not None:
        raise MalformedFileError(f"tensor {quoted(name)} of number {missing} is missing, but number {max(experts)} has one")
    parts = tuple(experts[i] for i in range(len(experts)))
    first = parts[0]
    for part in parts:
        if (part.shape, part.format.name) != (first.shape, first.format.name):
            raise MalformedFileError(f"tensor {quoted(part.name)} has another shape or format than {quoted(first.name)}")
    if taken:
        raise MalformedFileError(f"tensor {quoted(name)} is there beside its parts")
    columns = next((part.columns for part in parts if part.columns is not None), None)
    shape, nbytes = (len(parts), *first.shape), sum(part.nbytes for part in parts)
    return Stack(replace(first, name=name, shape=shape, nbytes=nbytes, columns=columns), parts)
