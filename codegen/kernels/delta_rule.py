"""The gated delta rule: a state that forgets, and is told the error of what it recalls.  arXiv:2412.06464.

Token by token: a vector of values keeps its part of the state in the first-level cache while the tokens of a chunk pass.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class DeltaRule:
    """One head for tokens [lo, hi) of one sequence, with q and k divided by their length, q also by sqrt(key_dim):

        s = exp(a[head] softplus(dt[t][head] + bias[head])) s;  s += k (v - s k) sigmoid(beta[t][head]);  y[t] = s q

    q, k and v are read from rows of `ldx` columns, at q_at, k_at and v_at; dt and beta have rows of `ldh` columns. y is written
    to rows of `ldy` columns at head * value_dim. state: [value_dim / 16, rounded up][key_dim][16].
    The reference is compiler/ir/recurrence.py, `delta_rule`.
    """

    key_dim: int
    value_dim: int

    @property
    def symbol(self) -> str:
        return f"delta_rule_{self.key_dim}_{self.value_dim}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *dt, const float *beta, const float *bias, const float *a, float *y, float *state, "
            "int32_t head, int32_t q_at, int32_t k_at, int32_t v_at, int32_t ldx, int32_t ldh, int32_t ldy, int32_t lo, "
            "int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import delta_rule_tir

        return delta_rule_tir.generate(self, isa)
