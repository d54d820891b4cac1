"""Rotary position embedding: a table of cosines and sines per token, and the rotation of query or key heads by it.

Su et al., arXiv:2104.09864, 3.4.2. Styles: "half" pairs feature i with i + rot/2, "interleaved" pairs 2i with 2i + 1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

STYLES = ("half", "interleaved")


@dataclass(frozen=True)
class RopeTable:
    """table[t, 0 .. half) = scale * cos(a), table[t, half .. 2*half) = scale * sin(a) for tokens [lo, hi).

    The angle a = positions[t] * freqs[i] is rounded to f32 as reference implementations have it, and what follows is f64: the
    error stays below 1e-7 for positions up to a million. Rows of the table lie 2*half floats apart.
    """

    @property
    def symbol(self) -> str:
        return "rope_table"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const int32_t *positions, const float *freqs, float *table, int32_t half, float scale, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import rope_tir

        return rope_tir.rope_table(self, isa)


@dataclass(frozen=True)
class Rope:
    """Rotates the first `rot` of the `d` features of every head of x, in place, for tokens [lo, hi); table [T, rot]."""

    d: int
    rot: int
    style: str

    def __post_init__(self) -> None:
        check(self.d, self.rot, self.style)
        if not self.rot:
            raise ValueError("a rotation of no features")

    @property
    def symbol(self) -> str:
        return f"rope_{self.style}_d{self.d}_r{self.rot}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *table, int32_t heads, int32_t ldx, int32_t lo, int32_t hi")

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import rope_tir

        return rope_tir.rope(self, isa)


def check(d: int, rot: int, style: str) -> None:
    """Raises ValueError unless `rot` features of heads of `d` can be rotated; 0 is none."""
    if style not in STYLES:
        raise ValueError(f"rope style {style!r}; there are {STYLES}")
    if rot % 2 or not 0 <= rot <= d:
        raise ValueError(f"{rot} rotated features of {d}: an even number, at most all of them")


def reference_table(positions: NDArray[np.int32], freqs: NDArray[np.float32], scale: float) -> NDArray[np.float64]:
    """positions [T], freqs [P] -> [T, 2P]."""
    angles = (positions.astype(np.float32)[:, None] * freqs[None, :]).astype(np.float64)
    return np.concatenate([scale * np.cos(angles), scale * np.sin(angles)], axis=1)


def reference(x: NDArray[np.floating], table: NDArray[np.floating], rot: int, style: str) -> NDArray[np.float64]:
    """x [T, heads, d], table [T, rot] -> x with the first rot features of each head turned."""
    y = x.astype(np.float64)
    cos, sin = (part[:, None, :].astype(np.float64) for part in np.split(table, 2, axis=1))
    first, second = (slice(0, rot // 2), slice(rot // 2, rot)) if style == "half" else (slice(0, rot, 2), slice(1, rot, 2))
    a, b = y[..., first].copy(), y[..., second].copy()
    y[..., first], y[..., second] = a * cos - b * sin, a * sin + b * cos
    return y
