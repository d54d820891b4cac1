"""The best of each row of logits: what sampling needs of them, so that a step copies some bytes to the host, not the vocabulary.

Two launches. `GpuBest(first=True)` gives the best of each part of a row of logits, `GpuBest(first=False)` the best of those.
Scores descend, of equals the lower id comes first, and a NaN counts as minus infinity: the order of runtime/src/sampler.c.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

PART = 2048  # logits of a part
MOST = 128  # count


def parts(vocab: int) -> int:
    """Parts of a row."""
    return -(-vocab // PART)


@dataclass(frozen=True)
class GpuBest:
    """scores[t, part, i], ids[t, part, i] = the i-th best of a part of row t, for i < count; one block a part and row.

    first: of x [T, ldx], n columns, in parts of PART, whose ids are their columns. Otherwise of x [T, ldx] with the ids
    x_ids [T, ldx], in one part. Where a part has fewer than `count`, minus infinity with id 2^31 - 1 follows. 1 <= count <= MOST.
    """

    first: bool

    @property
    def symbol(self) -> str:
        return "best_of_logits" if self.first else "best_of_parts"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const int32_t *x_ids, float *scores, int32_t *ids, int32_t n, int32_t ldx, int32_t parts,"
            " int32_t count, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("parts", "n_tokens", "1"), 256)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import best_tir

        return best_tir.best(self, device)
