"""State space layers whose channels have a decay of their own per token and feature: Mamba, arXiv:2312.00752."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class SelectiveScan:
    """Channels [16 block_lo, 16 block_hi) with `features` each, for tokens [lo, hi) of one sequence:

        dt = softplus(dt[t]);  s = exp(dt a) s + dt x[t] b[t];  y[t] = d x[t] + sum over features of s c[t], ascending

    x, dt and y have rows of `ld` columns, b and c of `ldb`; a is [features][ld], d [ld]; state: [ld / 16][features][16].
    The reference is compiler/ir/recurrence.py, `selective_scan`.
    """

    features: int

    @property
    def symbol(self) -> str:
        return f"selective_scan_{self.features}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *dt, const float *b, const float *c, const float *a, const float *d, float *y, "
            "float *state, int32_t ld, int32_t ldb, int32_t block_lo, int32_t block_hi, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import selective_scan_tir

        return selective_scan_tir.generate(self, isa)
