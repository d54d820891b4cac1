"""Row-wise work around a norm: residual add, norm, quantisation, any of them left out; and RMS norm of single heads.

RMS norm: v = x / sqrt(mean(x^2) + eps) * w.  Zhang and Sennrich, arXiv:1910.07467.
Layer norm: v = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * w + b.  Ba et al., arXiv:1607.06450.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.activations import FORMS
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


NORMS = ("", "rms", "layer")


@dataclass(frozen=True)
class Norm:
    """For tokens t in [lo, hi), with source row s = rows ? rows[t] : t of x, and n columns:

        if add:   x[s] += alpha * o[s]
        v = the norm of x[s] by w, and by b if that is not NULL and norm is "layer";  x[s] if norm is ""
        if f32:   y[t] = v
        if q8:    v into row t of the token tiles of n_tokens tokens; rows from n_tokens on, where hi reaches them, are zeros

    q8: "q8" or "q8_256" (codegen/kernels/activations.py), "" for neither.
    Rows of x, o, y, w and b are padded with zeros to 16 columns; n is a multiple of 32 for q8, of 256 for q8_256. y is none of
    the inputs. With `rows` and `add` no row may be named twice. Sums are taken in f32, in an order that depends on the level
    alone.
    """

    add: bool
    norm: str
    f32: bool
    q8: str

    def __post_init__(self) -> None:
        if self.q8 not in FORMS:
            raise ValueError(f"int8 form {self.q8!r}; there are {FORMS}")
        if self.norm not in NORMS:
            raise ValueError(f"norm {self.norm!r}; there are {NORMS}")
        if not (self.add or self.norm or self.q8):
            raise ValueError("a norm kernel that does nothing but copy; copy rows in the plan")
        if not (self.add or self.f32 or self.q8):
            raise ValueError("a norm kernel without a result")

    @property
    def symbol(self) -> str:
        parts = {"add": self.add, self.norm: self.norm, "f32": self.f32, self.q8: self.q8}
        return "_".join(["norm", *(name for name, wanted in parts.items() if wanted)])

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "float *x, const float *o, const float *w, const float *b, float *y, int8_t *qa, float *da, int32_t *sa, "
            "const int32_t *rows, int32_t n, int32_t ldx, int32_t ldo, int32_t ldy, float eps, float alpha, int32_t n_tokens, "
            "int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import norm_tir

        return norm_tir.norm(self, isa)


@dataclass(frozen=True)
class HeadNorm:
    """x[t, h*d .. h*d + d) = the norm of itself times w, in place, for every head of tokens [lo, hi). Any d.

    norm "rms": by w[0 .. d), the same for all heads. "layer": by w[h*e .. h*e + d), where e is d padded to 16, without bias.
    """

    d: int
    norm: str = "rms"

    def __post_init__(self) -> None:
        if self.d < 1:
            raise ValueError(f"a head has at least one feature, not {self.d}")
        if self.norm not in NORMS[1:]:
            raise ValueError(f"norm {self.norm!r} of heads; there are {NORMS[1:]}")

    @property
    def symbol(self) -> str:
        return f"head_norm_d{self.d}" + "_layer" * (self.norm == "layer")

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *w, int32_t heads, int32_t ldx, float eps, int32_t lo, int32_t hi")

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import norm_tir

        return norm_tir.head_norm(self, isa)


def reference(x: NDArray[np.floating], w: NDArray[np.floating], eps: float) -> NDArray[np.float64]:
    """x [..., n], w [n] -> the RMS norm of each row."""
    wide = x.astype(np.float64)
    mean = (wide * wide).mean(axis=-1, keepdims=True)
    return np.asarray(wide / np.sqrt(mean + eps) * w)


def reference_layer(
    x: NDArray[np.floating], w: NDArray[np.floating], b: NDArray[np.floating], eps: float
) -> NDArray[np.float64]:
    """x [..., n], w [n], b [n] -> the layer norm of each row."""
    wide = x.astype(np.float64)
    return reference(wide - wide.mean(axis=-1, keepdims=True), w, eps) + b
