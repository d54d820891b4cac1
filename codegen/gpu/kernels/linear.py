"""y = scale * (x W^T + bias) for a few tokens: weights in tiles of 16 rows, as they lie in the artifact, decoded to floats.

A block computes one row tile. A half warp reads one unit of 32 columns, a lane a row, so that a warp's loads are whole 64-byte
runs; the block's half warps share the columns and their sums meet in shared memory.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.linear import reference
from llmc.ir.quant import Format

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

__all__ = ["WIDTHS", "GpuLinear", "reference"]

WIDTHS = (1, 2, 4, 8)


def threads(p: int) -> int:
    """Of a block, by the tokens of its tile: of 128 threads and 8 tokens ptxas spills an address to fit one block more."""
    return 256 if p == 8 else 128


@dataclass(frozen=True)
class GpuLinear:
    """y[t, r] = scale * (x[t] . W[r] + bias[r]) for token tiles of `p` tokens; rows of x are ldx apart, of y ldy.

    x has whole token tiles, or tokens past n_tokens that may be read; they are not written. y has whole row tiles.
    """

    format: Format
    p: int
    bias: bool

    def __post_init__(self) -> None:
        if self.p not in WIDTHS:
            raise ValueError(f"a token tile has {WIDTHS} tokens, not {self.p}")

    @property
    def symbol(self) -> str:
        return f"linear_{self.format.name}_p{self.p}" + "_bias" * self.bias

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const uint8_t *w, const float *x, const float *bias, float *y, int32_t k, int32_t tiles, int32_t ldx, int32_t ldy, "
            "float scale, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("tiles", f"(n_tokens + {self.p - 1}) / {self.p}", "1"), threads(self.p))

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import linear_tir

        return linear_tir.generate(self, device)
