"""The nonlinear part of a feed-forward block: an activation function, mostly times the gate's other half.

silu(x) = x / (1 + e^-x), gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), gelu_erf(x) = x/2 (1 + erf(x/sqrt(2))).
relu(x) = max(x, 0), relu2(x) = max(x, 0)^2. xielu(x) = p x^2 + b x from zero on, n (e^min(x, eps) - 1 - x) + b x below.
sigmoid(x) = 1 / (1 + e^-x).
clamped_silu(g) u = g / (1 + e^(-1.702 g)) (u + 1) with g at most 7 and u in -7..7: both halves change, so it is always gated.
arXiv:1606.08415, arXiv:2002.05202, arXiv:2109.08668, arXiv:2411.13010, arXiv:2508.10925.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.activations import FORMS
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

FUNCTIONS = ("silu", "gelu", "gelu_erf", "clamped_silu", "relu2", "xielu", "sigmoid", "relu")
ALWAYS_GATED = ("clamped_silu", "sigmoid")  # without the other half, both halves or the zeros beside them would be wrong
SLOPE, LIMIT = 1.702, 7.0  # of clamped_silu


@dataclass(frozen=True)
class Activation:
    """v = function(gate[t]) * up[t], without the factor unless `gated`, over n columns for tokens t in [lo, hi), as rows y (f32),
    as token tiles of n_tokens tokens (rows from n_tokens on, where hi reaches them, are zeros), or both.

    q8: "q8" or "q8_256" (codegen/kernels/activations.py), "" for neither.
    Rows are padded with zeros to 16 columns; n is a multiple of 32 for q8, of 256 for q8_256. `up` is not
    looked at unless `gated`, but of xielu, which is never gated: there it holds p, n, b and eps.
    """

    function: str
    gated: bool
    f32: bool
    q8: str

    def __post_init__(self) -> None:
        if self.q8 not in FORMS:
            raise ValueError(f"int8 form {self.q8!r}; there are {FORMS}")
        if self.function not in FUNCTIONS:
            raise ValueError(f"activation {self.function!r}; there are {FUNCTIONS}")
        if not (self.f32 or self.q8):
            raise ValueError("an activation without a result")
        if self.function in ALWAYS_GATED and not self.gated:
            raise ValueError(f"{self.function} without a gate's other half")
        if self.function == "xielu" and self.gated:
            raise ValueError("xielu has parameters in the place of a gate's other half")

    @property
    def symbol(self) -> str:
        return self.function + "_mul" * self.gated + "_f32" * self.f32 + f"_{self.q8}" * bool(self.q8)

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *gate, const float *up, float *y, int8_t *qa, float *da, int32_t *sa, int32_t n, int32_t ldg, "
            "int32_t ldu, int32_t ldy, int32_t n_tokens, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import activation_tir

        return activation_tir.generate(self, isa)


def reference(function: str, gate: NDArray[np.floating], up: NDArray[np.floating] | float = 1.0) -> NDArray[np.float64]:
    """gate, up [..., n] -> function(gate) * up. Of xielu, up is the parameters [4]."""
    x = gate.astype(np.float64)
    if function == "relu":
        return np.asarray(np.maximum(x, 0) * up)
    if function == "relu2":
        return np.asarray(np.maximum(x, 0) ** 2 * up)
    if function == "xielu":
        p, n, b, eps = np.asarray(up, np.float64)[:4]
        return np.asarray(np.where(x < 0, n * (np.expm1(np.minimum(x, eps)) - x), p * x * x) + b * x)
    if function == "clamped_silu":
        x = np.minimum(x, LIMIT)
        return np.asarray(x / (1 + np.exp(-np.clip(SLOPE * x, -700, None))) * (np.clip(up, -LIMIT, LIMIT) + 1.0))
    if function == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, None))) * up)
    if function == "gelu_erf":
        return np.asarray(x / 2 * np.vectorize(math.erfc, otypes=[float])(-x / np.sqrt(2)) * up)
    exponent = x if function == "silu" else 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)  # (1 + tanh(u)) / 2 = 1 / (1 + e^-2u)
    return np.asarray(x / (1 + np.exp(-np.clip(exponent, -700, 700))) * up)
