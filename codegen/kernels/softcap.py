"""Logits within bounds: cap * tanh(x / cap).  Gemma 2, arXiv:2408.00118."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class Softcap:
    """x[t] = cap * tanh(x[t] / cap) over n columns, in place, for tokens [lo, hi). Rows are padded with zeros to 16 columns."""

    @property
    def symbol(self) -> str:
        return "softcap"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, int32_t n, int32_t ldx, float cap, int32_t lo, int32_t hi")

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import softcap_tir

        return softcap_tir.generate(self, isa)


def reference(x: NDArray[np.floating], cap: float) -> NDArray[np.float64]:
    """x [...] -> the same, capped."""
    return np.asarray(cap * np.tanh(x.astype(np.float64) / cap))
