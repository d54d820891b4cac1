"""What the experts of a token made, put together: a weighted sum in the order of the token's slots."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class ExpertSum:
    """y[t] = the sum over slots j = 0, 1, ... of weights[t*ldw + j] * rows[place[t*used + j]] for tokens t in [lo, hi).

    Without `weighted` it is the sum of the rows alone. Rows have n columns and are padded to 16. One multiply-add after the
    other, so the bits depend on the token alone.
    """

    weighted: bool = True

    @property
    def symbol(self) -> str:
        return "expert_sum" + "_plain" * (not self.weighted)

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *rows, const int32_t *place, const float *weights, float *y, int32_t n, int32_t used, int32_t ldr, "
            "int32_t ldw, int32_t ldy, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import expert_sum_tir

        return expert_sum_tir.generate(self, isa)


def reference(rows: NDArray[np.floating], place: NDArray[np.int32], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """rows [R, n], place [T, used], weights [T, used] -> [T, n]."""
    total: NDArray[np.float64] = (rows.astype(np.float64)[place] * weights[:, :, None].astype(np.float64)).sum(axis=1)
    return total
