"""y = scale * (x W^T + bias): the matrix product of every layer, weights in tiles (compiler/ir/tiles.py), any number of tokens.

`acts` says what x is: "q8" is int8 with a scale per 32 columns, in token tiles (codegen/kernels/activations.py), and the product
is integer arithmetic inside a group; "f32" is rows of floats, and weights are decoded to floats. Variants for `p` tokens exist so
that a few tokens do not pay for sixteen; all of them sum an output in the same order, so its bits do not depend on `p`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params
from llmc.ir.quant import Bytes, DenseFormat, Format, dequantize

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

WIDTHS = (1, 2, 4, 8, 16)

_RANGES = "int32_t tile_lo, int32_t tile_hi, int32_t mt_lo, int32_t mt_hi"
_Q8 = params(
    "const uint8_t *w, const int8_t *qa, const float *da, const int32_t *sa, const float *bias, float *y, "
    f"int32_t k, int32_t ldy, float scale, {_RANGES}"
)
_F32 = params(
    f"const uint8_t *w, const float *x, const float *bias, float *y, int32_t k, int32_t ldx, int32_t ldy, float scale, {_RANGES}"
)


@dataclass(frozen=True)
class Linear:
    """y[(mt*p + t) * ldy + 16*tile + r] = scale * (x . W[16*tile + r] + bias[16*tile + r]) for row tiles [tile_lo, tile_hi) and
    token tiles [mt_lo, mt_hi); bias may be NULL. Token tile mt starts at token mt*p of qa, da, sa (or x) and y.

    Sums in f32, over groups (q8) or columns (f32) in ascending order. k is a multiple of format.weights; y has whole row tiles.
    """

    format: Format
    acts: str
    p: int

    def __post_init__(self) -> None:
        if self.p not in WIDTHS:
            raise ValueError(f"a token tile has {WIDTHS} tokens, not {self.p}")
        integral = not isinstance(self.format, DenseFormat) and self.format.integral
        if self.acts not in ("q8", "f32") or (self.acts == "q8" and not integral):
            raise ValueError(f"{self.format.name} weights have no kernel for {self.acts} activations")

    @property
    def symbol(self) -> str:
        return f"linear_{self.format.name}_{self.acts}_p{self.p}"

    @property
    def tiles(self) -> bool:
        """Whether levels with matrix tiles have a kernel of their own."""
        return self.acts == "q8" and self.p == WIDTHS[-1]

    @property
    def params(self) -> tuple[Param, ...]:
        return _Q8 if self.acts == "q8" else _F32

    def generate(self, isa: "Isa") -> "PrimFunc":
        if self.acts == "q8" and not isinstance(self.format, DenseFormat) and self.format.super_block:
            from llmc.codegen.kernels import linear_q8_super, linear_q8_super_tiles, linear_q8_super_wide

            if self.p < WIDTHS[-1]:
                return linear_q8_super.generate(self, isa)
            return (linear_q8_super_tiles if isa.tiles else linear_q8_super_wide).generate(self, isa)
        if self.acts == "q8" and self.p == WIDTHS[-1]:
            from llmc.codegen.kernels import linear_q8_wide

            return linear_q8_wide.generate(self, isa)
        if self.acts == "q8":
            from llmc.codegen.kernels import linear_q8

            return linear_q8.generate(self, isa)
        from llmc.codegen.kernels import linear_f32

        return linear_f32.generate(self, isa)


def reference(
    fmt: Format, raw: Bytes, x: NDArray[np.floating], bias: NDArray[np.float32] | None = None, scale: float = 1.0
) -> NDArray[np.float64]:
    """raw u8: W[N, K] as the checkpoint stores it; x [T, K], for q8 the values qa * da -> y f64 [T, N]."""
    wide = x.astype(np.float64)
    weights = dequantize(fmt, raw).astype(np.float64).reshape(-1, x.shape[1])
    total = wide @ weights.T
    return np.float64(scale) * (total if bias is None else total + bias)
