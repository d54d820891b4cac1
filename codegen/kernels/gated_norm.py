"""RMS norm of groups of columns, with a gate before it or after it, as the output of recurrent layers has it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

GATES = ("before", "after")


@dataclass(frozen=True)
class GatedNorm:
    """In place, for tokens [lo, hi) and `groups` groups of d columns: x = rms_norm(x) w silu(z), or of x silu(z) if the gate is
    "before" the norm. The weights of group g are at w + g * w_stride; x and z have rows of ldx and ldz columns.

    The reference is the op of that name, compiler/ir/ops_recurrent.py.
    """

    d: int
    gate: str

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise ValueError(f"a gate {self.gate!r} the norm; there are {GATES}")

    @property
    def symbol(self) -> str:
        return f"gated_norm_{self.d}_{self.gate}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "float *x, const float *z, const float *w, int32_t groups, int32_t w_stride, int32_t ldx, int32_t ldz, float eps, "
            "int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import gated_norm_tir

        return gated_norm_tir.generate(self, isa)
