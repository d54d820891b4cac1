"""Causal depthwise convolution over the tokens of a sequence, its last inputs kept between steps.

y[t] = function(b + sum over j of w[j] * x[t - K + 1 + j]), each column with taps of its own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

FUNCTIONS = ("", "silu")


@dataclass(frozen=True)
class CausalConv:
    """For tokens [lo, hi) of one sequence and columns [16 block_lo, 16 block_hi): y[t] = function(b + conv(x)[t]).

    If gated, the input is before[t] * x[t] and the result is multiplied by after[t]; the two are not looked at otherwise.
    x, before, after and y are rows of `ld` columns; w is [taps][ld], b [ld] or NULL; state is [taps - 1][ld], the inputs before
    token lo, oldest first, and holds those before token hi afterwards. Sums start from b and take the oldest input first.
    """

    taps: int
    function: str
    gated: bool

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS or self.taps < 2:
            raise ValueError(f"a convolution of {self.taps} taps with {self.function!r}")

    @property
    def symbol(self) -> str:
        return f"causal_conv_{self.taps}" + f"_{self.function}" * bool(self.function) + "_gated" * self.gated

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *before, const float *after, const float *w, const float *b, float *y, float *state, "
            "int32_t ld, int32_t block_lo, int32_t block_hi, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import causal_conv_tir

        return causal_conv_tir.generate(self, isa)


def reference(
    spec: CausalConv, state: NDArray[np.floating], x: NDArray[np.floating], w: NDArray[np.floating], b: NDArray[np.floating]
) -> NDArray[np.float64]:
    """state [taps-1, C], x [T, C], w [taps, C], b [C] -> [T, C], for a spec that is not gated."""
    inputs = np.concatenate([state, x]).astype(np.float64)
    y = b + sum(w[j] * inputs[j : j + len(x)] for j in range(spec.taps))
    return np.asarray(y / (1 + np.exp(-y)) if spec.function == "silu" else y)
