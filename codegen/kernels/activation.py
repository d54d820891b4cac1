"""The gate of SwiGLU: silu(gate) * up, silu(x) = x / (1 + e^-x).  arXiv:2002.05202."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class SiluMul:
    """v = silu(gate[t]) * up[t] over n columns for tokens t in [lo, hi), as rows y (f32), as q8 token tiles of n_tokens tokens
    (rows from n_tokens on, where hi reaches them, are zeros), or both.

    Rows are padded with zeros to 16 columns; n is a multiple of 32 for q8.
    """

    f32: bool
    q8: bool

    def __post_init__(self) -> None:
        if not (self.f32 or self.q8):
            raise ValueError("silu_mul without a result")

    @property
    def symbol(self) -> str:
        return "silu_mul" + "_f32" * self.f32 + "_q8" * self.q8

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *gate, const float *up, float *y, int8_t *qa, float *da, int32_t *sa, int32_t n, int32_t ldg, "
            "int32_t ldu, int32_t ldy, int32_t n_tokens, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import activation_tir

        return activation_tir.generate(self, isa)


def reference(gate: NDArray[np.floating], up: NDArray[np.floating]) -> NDArray[np.float64]:
    """gate, up [..., n] -> silu(gate) * up."""
    wide = gate.astype(np.float64)
    return np.asarray(wide / (1 + np.exp(-wide)) * up)
