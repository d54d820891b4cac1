"""What a value is: element type or weight format, and a shape whose dimensions may be symbols.

A tensor's type carries its format object, so codegen lowers a Q4_0 weight without knowing where Q4_0 came from.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from llmc.ir.quant import BlockFormat, DenseFormat

Format = BlockFormat | DenseFormat
Dim = int | str
"""A number, or the name of a symbol: T tokens in this step, R rows wanted, B sequences."""


class DType(enum.Enum):
    """Element types of activations. Weights have a Format instead."""

    F32 = "f32"
    I32 = "i32"
    Q8 = "q8"  # int8 with one f32 scale per 32 columns, and the sums of 16 columns
    Q8_256 = "q8_256"  # int8 with one f32 scale per 256 columns: what super-blocks are multiplied with
    CACHE = "cache"  # the key/value pages of every layer, one opaque value


SCALE_COLUMNS = {DType.Q8: 32, DType.Q8_256: 256}
"""The int8 forms of activations, and the columns that share a scale."""

ITEM_BYTES = {DType.F32: 4, DType.I32: 4}


@dataclass(frozen=True)
class TensorType:
    """`f32[T,64]`, `q4_k[4096,2048]`, `cache`."""

    dtype: DType | Format
    shape: tuple[Dim, ...] = ()

    def __post_init__(self) -> None:
        for dim in self.shape:
            if isinstance(dim, int) and dim <= 0:
                raise ValueError(f"dimension {dim} in {self.shape}")

    @property
    def name(self) -> str:
        return self.dtype.value if isinstance(self.dtype, DType) else self.dtype.name

    @property
    def is_weight_format(self) -> bool:
        return not isinstance(self.dtype, DType)

    def __str__(self) -> str:
        return f"{self.name}[{','.join(map(str, self.shape))}]" if self.shape else self.name


CACHE = TensorType(DType.CACHE)


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def i32(*shape: Dim) -> TensorType:
    return TensorType(DType.I32, shape)


def q8(*shape: Dim) -> TensorType:
    return TensorType(DType.Q8, shape)


def q8_256(*shape: Dim) -> TensorType:
    return TensorType(DType.Q8_256, shape)
