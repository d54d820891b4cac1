"""Weights that are computed from what a model directory stores, when their bytes are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from llmc.errors import MalformedFileError
from llmc.frontend.checkpoint import Bytes, Tensor, quoted
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import DenseFormat, dequantize

NORM: Final = re.compile(r".*norm\.weight")
EXPERT: Final = re.compile(r"(.*\.experts)\.(0|[1-9][0-9]{0,4})\.(.*\.weight)")


@dataclass(frozen=True)
class PlusOne:
    """A vector w shown as 1 + w, f32: norms of some families multiply by that."""

    source: Tensor

    @property
    def tensor(self) -> Tensor:
        return replace(self.source, format=FORMATS["f32"], nbytes=4 * self.source.shape[0])

    @property
    def parts(self) -> Mapping[str, Tensor]:
        return {"weight": self.source}

    def assemble(self, read: Callable[[Tensor], Bytes]) -> Bytes:
        """f32 [C] as u8 [4 * C]; one rounding, as engines add in f32."""
        return (np.float32(1.0) + dequantize(self.source.format, read(self.source))).view(np.uint8)


def norms_plus_one(tensors: Mapping[str, Tensor]) -> dict[str, PlusOne]:
    """The norms' weights by name, one added to each."""
    return {name: PlusOne(t) for name, t in tensors.items() if _is_norm(t)}


def _is_norm(tensor: Tensor) -> bool:
    return NORM.fullmatch(tensor.name) is not None and len(tensor.shape) == 1 and isinstance(tensor.format, DenseFormat)


@dataclass(frozen=True)
class Stack:
    """The matrices [N, K] of E experts shown as one tensor [E, N, K]. `parts` in the order of their numbers."""

    tensor: Tensor
    parts: tuple[Tensor, ...]


def find_stacks(tensors: Mapping[str, Tensor]) -> dict[str, Stack]:
    """The stacks by name, `X.experts.w1.weight` of `X.experts.0.w1.weight` and so on.

    Raises MalformedFileError where a number is missing, or an expert is not like the first.
    """
    members: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := EXPERT.fullmatch(name):
            members.setdefault(f"{found[1]}.{found[3]}", {})[int(found[2])] = tensor
    return {name: _stack(name, experts, taken=name in tensors) for name, experts in members.items()}


def _stack(name: str, experts: Mapping[int, Tensor], taken: bool) -> Stack:
    missing = next((i for i in range(len(experts)) if i not in experts), None)
    if missing is not None:
        raise MalformedFileError(f"tensor {quoted(name)} of expert {missing} is missing, but expert {max(experts)} has one")
    parts = tuple(experts[i] for i in range(len(experts)))
    first = parts[0]
    for part in parts:
        if (part.shape, part.format.name) != (first.shape, first.format.name):
            raise MalformedFileError(f"tensor {quoted(part.name)} has another shape or format than {quoted(first.name)}")
    if taken:
        raise MalformedFileError(f"tensor {quoted(name)} is there beside those of single experts")
    columns = next((part.columns for part in parts if part.columns is not None), None)
    shape, nbytes = (len(parts), *first.shape), sum(part.nbytes for part in parts)
    return Stack(replace(first, name=name, shape=shape, nbytes=nbytes, columns=columns), parts)
