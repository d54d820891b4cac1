"""Row-wise work around a norm: residual add, RMS norm, quantisation, any of them left out; and RMS norm of single heads.

RMS norm: v = x / sqrt(mean(x^2) + eps) * w.  Zhang and Sennrich, arXiv:1910.07467.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class Norm:
    """For tokens t in [lo, hi), with source row s = rows ? rows[t] : t of x, and n columns:

        if add:   x[s] += alpha * o[s]
        v = x[s] / sqrt(mean(x[s]^2) + eps) * w  if norm,  else x[s]
        if f32:   y[t] = v
        if q8:    v into row t of the token tiles of n_tokens tokens; rows from n_tokens on, where hi reaches them, are zeros

    Rows of x, o, y and w are padded with zeros to 16 columns; n is a multiple of 32 for q8. y is none of the inputs. With `rows`
    and `add` no row may be named twice. The sum of squares is taken in f32, in an order that depends on the level alone.
    """

    add: bool
    norm: bool
    f32: bool
    q8: bool

    def __post_init__(self) -> None:
        if not (self.add or self.norm or self.q8):
            raise ValueError("a norm kernel that does nothing but copy; copy rows in the plan")
        if not (self.add or self.f32 or self.q8):
            raise ValueError("a norm kernel without a result")

    @property
    def symbol(self) -> str:
        parts = {"add": self.add, "rms": self.norm, "f32": self.f32, "q8": self.q8}
        return "_".join(["norm", *(name for name, wanted in parts.items() if wanted)])

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "float *x, const float *o, const float *w, float *y, int8_t *qa, float *da, int32_t *sa, const int32_t *rows, "
            "int32_t n, int32_t ldx, int32_t ldo, int32_t ldy, float eps, float alpha, int32_t n_tokens, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import norm_tir

        return norm_tir.norm(self, isa)


@dataclass(frozen=True)
class HeadNorm:
    """x[t, h*d .. h*d + d) = RMS norm of itself times w[0 .. d), in place, for every head of tokens [lo, hi). Any d."""

    d: int

    def __post_init__(self) -> None:
        if self.d < 1:
            raise ValueError(f"a head has at least one feature, not {self.d}")

    @property
    def symbol(self) -> str:
        return f"head_norm_d{self.d}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *w, int32_t heads, int32_t ldx, float eps, int32_t lo, int32_t hi")

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import norm_tir

        return norm_tir.head_norm(self, isa)


def reference(x: NDArray[np.floating], w: NDArray[np.floating], eps: float) -> NDArray[np.float64]:
    """x [..., n], w [n] -> the norm of each row."""
    wide = x.astype(np.float64)
    mean = (wide * wide).mean(axis=-1, keepdims=True)
    return np.asarray(wide / np.sqrt(mean + eps) * w)
