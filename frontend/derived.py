"""Weights that are computed from what a model directory stores, when their bytes are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import DenseFormat, dequantize

NORM: Final = re.compile(r".*norm\.weight")


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
