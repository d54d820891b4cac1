"""State space layers whose heads have one decay per token: Mamba-2, arXiv:2405.21060.

The recurrence token by token, not in chunks: a block of the state stays in registers while the tokens of a step pass, so that
prefill takes one product and two fused multiply-adds per element of the state, in the order in which decode takes them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class Ssd:
    """One head of `head_dim` channels with `features` each, for tokens [lo, hi) of one sequence:

        dt = min(max(softplus(dt[t][head] + bias[head]), dt_min), dt_max)
        s = exp(dt a[head]) s + dt x[t] b[t];  y[t] = d[head] x[t] + sum over features of s c[t], ascending

    x, b and c are read from rows of `ldx` columns, at columns head * head_dim, b_at and c_at; y is written to rows of `ldy`
    columns at head * head_dim. dt has rows of `lddt` columns. state: [head_dim / 16, rounded up][features][16].
    The reference is compiler/ir/recurrence.py, `ssd`.
    """

    head_dim: int
    features: int

    @property
    def symbol(self) -> str:
        return f"ssd_{self.head_dim}_{self.features}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *dt, const float *bias, const float *a, const float *d, float *y, float *state, "
            "int32_t head, int32_t b_at, int32_t c_at, int32_t ldx, int32_t lddt, int32_t ldy, float dt_min, float dt_max, "
            "int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import ssd_tir

        return ssd_tir.generate(self, isa)
