"""Codebooks of vectors: one code stands for four or eight neighbouring weights, which signs or a shift then alter.

The vectors of a grid are points of a lattice, its coordinates few small integers. A set of points is kept as one bit for each
point of the lattice; the code of a point is its place among the chosen ones.
"""

import base64
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """2**bits vectors of `width` small integers.

    Point number p of the lattice has the digits of p to the base len(values), lowest first, as coordinates, and digit i stands
    for values[i]. `chosen` is base 85 of one bit per point, highest bit of a byte first.
    """

    width: int
    bits: int
    values: tuple[int, ...]
    chosen: str

    def __post_init__(self) -> None:
        if self.width not in (4, 8):
            raise ValueError(f"a vector of a grid has 4 or 8 weights, not {self.width}")
        if len(self.points) != 1 << self.bits:
            raise ValueError(f"{len(self.points)} points for {self.bits}-bit codes")

    @cached_property
    def points(self) -> NDArray[np.intp]:
        """The numbers of the chosen points, ascending."""
        bits = np.unpackbits(np.frombuffer(base64.b85decode(self.chosen), np.uint8))
        return np.flatnonzero(bits[: len(self.values) ** self.width])

    @cached_property
    def table(self) -> NDArray[np.int8]:
        """i8 [2**bits, width]: the vector of each code."""
        base = len(self.values)
        digits = self.points[:, None] // base ** np.arange(self.width) % base
        table: NDArray[np.int8] = np.array(self.values, np.int8)[digits]
        return table


@dataclass(frozen=True)
class Signs:
    """A sign bit for each weight, eight to a code: a set bit negates. With 7 bits the last one makes their number even."""

    bits: int

    def __post_init__(self) -> None:
        if self.bits not in (7, 8):
            raise ValueError(f"eight signs take 7 or 8 bits, not {self.bits}")

    def count(self, weights: int) -> int:
        """Codes for that many weights."""
        return weights // 8

    def apply(self, levels: NDArray[np.int16], codes: Bytes) -> NDArray[np.int16]:
        """levels i16 [blocks, weights], codes u8 [blocks, weights / 8]."""
        bits = np.unpackbits(codes, axis=1, bitorder="little").reshape(*codes.shape, 8)
        if self.bits == 7:
            bits[..., 7] = bits[..., :7].sum(axis=2) % 2
        return np.where(bits.reshape(levels.shape), -levels, levels)


@dataclass(frozen=True)
class Shift:
    """One bit for each `weights` weights: a set bit adds `by` to their levels."""

    by: int
    weights: int
    bits: int = 1

    def count(self, weights: int) -> int:
        """Codes for that many weights."""
        return weights // self.weights

    def apply(self, levels: NDArray[np.int16], codes: Bytes) -> NDArray[np.int16]:
        """levels i16 [blocks, weights], codes u8 [blocks, weights / self.weights]."""
        return levels + np.repeat(codes.astype(np.int16) * np.int16(self.by), self.weights, axis=1)
