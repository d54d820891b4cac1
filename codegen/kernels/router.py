"""Which experts a token goes to, and with what weight.  Shazeer et al., arXiv:1701.06538; Fedus et al., arXiv:2101.03961."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

GATES = ("softmax", "sigmoid", "sparsemixer")
GROUPINGS = (0, 1, 2)


@dataclass(frozen=True)
class Router:
    """For tokens t in [lo, hi): ids[t*ldo + j] is the expert with the j-th largest of n choices, the lower one of two equal ones,
    and weights[t*ldo + j] its score for j < used, divided by the sum of the `used` scores if `normalize`, times `scale`.

    A score is the softmax over all n logits, or the sigmoid of its own (`gate`); a choice is the score, plus `bias` if `biased`
    (DeepSeek-V3, arXiv:2412.19437). The score of "sparsemixer" (arXiv:2409.12136) is the softmax over those logits that are not
    larger than its own l and not further from it than 2 * jitter * max(|logit|, l); bias and groups are not for it.

    best_of_group: 0, or n experts are `groups` of equal size and only those of `groups_used` of them are chosen: those with the
    largest choice (1, arXiv:2405.04434) or sum of the two largest (2, arXiv:2412.19437).

    choices: room for n + groups numbers a token, ldc apart, where the kernel is biased or has groups. Ids are in [0, n) whatever
    the logits are, so that nothing is read outside the weights; a token with logits that are not finite may name an expert
    twice. The reference is ir/reference.py.
    """

    gate: str
    normalize: bool
    biased: bool = False
    best_of_group: int = 0

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise ValueError(f"the gate of a router is one of {', '.join(GATES)}, not {self.gate}")
        if self.best_of_group not in GROUPINGS:
            raise ValueError(f"groups of experts by their {self.best_of_group} best")
        if self.gate == "sparsemixer" and (self.normalize or self.has_choices):
            raise ValueError("sparsemixer with normalised scores, bias or groups")

    @property
    def has_choices(self) -> bool:
        """Whether experts are chosen by other numbers than their logits."""
        return self.biased or self.best_of_group > 0

    @property
    def symbol(self) -> str:
        groups = f"_groups{self.best_of_group}" if self.best_of_group else ""
        return f"router_{self.gate}" + "_normalized" * self.normalize + "_biased" * self.biased + groups

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *logits, const float *bias, float *choices, int32_t *ids, float *weights, int32_t n, int32_t used, "
            "int32_t groups, int32_t groups_used, int32_t ld, int32_t ldc, int32_t ldo, float scale, float jitter, int32_t lo, "
            "int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import router_tir

        return router_tir.generate(self, isa)
