"""Which experts a token goes to, and with what weight.  Shazeer et al., arXiv:1701.06538; Fedus et al., arXiv:2101.03961."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

GATES = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Router:
    """For tokens t in [lo, hi): ids[t*ldo + j] is the expert with the j-th largest of n logits, the lower one of two equal ones,
    and weights[t*ldo + j] its score for j < used: the softmax over all n logits, or the sigmoid of its own (`gate`), divided by
    the sum of the `used` scores if `normalize`, times `scale`.

    Ids are in [0, n) whatever the logits are, so that nothing is read outside the weights; a token with logits that are not
    finite may name an expert twice. The reference is ir/reference.py.
    """

    gate: str
    normalize: bool

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise ValueError(f"the gate of a router is one of {', '.join(GATES)}, not {self.gate}")

    @property
    def symbol(self) -> str:
        return f"router_{self.gate}" + "_normalized" * self.normalize

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *logits, int32_t *ids, float *weights, int32_t n, int32_t used, int32_t ld, int32_t ldo, float scale, "
            "int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import router_tir

        return router_tir.generate(self, isa)
