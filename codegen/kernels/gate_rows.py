"""Rows times the sigmoid of a logit each: the network beside the experts in Qwen 1.5 MoE and Qwen 2.  arXiv:2407.10671."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class GateRows:
    """x[t] = x[t] * sigmoid(logits[t*ldl]) over n columns, in place, for tokens [lo, hi). Rows are padded to 16 columns.

    The reference is `gate_rows` of ir/ops.py.
    """

    @property
    def symbol(self) -> str:
        return "gate_rows"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *logits, int32_t n, int32_t ldx, int32_t ldl, int32_t lo, int32_t hi")

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import gate_rows_tir

        return gate_rows_tir.generate(self, isa)
