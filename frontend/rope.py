"""Rotation frequencies, computed in decimal arithmetic.

The frequencies enter the artifact, so they must not depend on a libm or on numpy's vector code: `decimal` rounds its exp and ln
correctly on every machine.  RoPE: Su et al., arXiv:2104.09864.  YaRN: Peng et al., arXiv:2309.00071.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

import numpy as np
import numpy.typing as npt

_PRECISION = Context(prec=40)
_PI = Decimal("3.14159265358979323846264338327950288419716939937510")


@dataclass(frozen=True)
class RopeScaling:
    """How positions beyond the trained context are squeezed. `factor` is the ratio of new to original context."""

    kind: str = "none"  # none, linear, yarn
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0


def frequencies(dims: int, base: float, scaling: RopeScaling) -> tuple[npt.NDArray[np.float32], float]:
    """(f32 [dims/2] radians per position, factor of cos and sin)."""
    with localcontext(_PRECISION):
        log_base = Decimal(base).ln()
        plain = [(-Decimal(2 * i) / dims * log_base).exp() for i in range(dims // 2)]
        if scaling.kind == "none":
            return _f32(plain), 1.0
        squeezed = [f / Decimal(scaling.factor) for f in plain]
        if scaling.kind == "linear":
            return _f32(squeezed), 1.0
        keep = _yarn_keep(dims, log_base, scaling)
        mixed = [s * (1 - k) + p * k for s, p, k in zip(squeezed, plain, keep, strict=True)]
        magnitude = (1 + Decimal("0.1") * Decimal(scaling.factor).ln()) * Decimal(scaling.attention_factor)
        return _f32(mixed), float(np.float32(float(magnitude)))


def _yarn_keep(dims: int, log_base: Decimal, scaling: RopeScaling) -> list[Decimal]:
    """Per pair: 1 keeps the original frequency, 0 squeezes it, a ramp between the two correction dimensions."""

    def dimension(rotations: float) -> Decimal:
        return dims * (scaling.original_context / (Decimal(rotations) * 2 * _PI)).ln() / (2 * log_base)

    low = max(Decimal(0), dimension(scaling.beta_fast).to_integral_value("ROUND_FLOOR"))
    high = min(Decimal(dims - 1), dimension(scaling.beta_slow).to_integral_value("ROUND_CEILING"))
    span = max(Decimal("0.001"), high - low)
    return [1 - min(max((i - low) / span, Decimal(0)), Decimal(1)) for i in range(dims // 2)]


def _f32(values: list[Decimal]) -> npt.NDArray[np.float32]:
    return np.array([float(v) for v in values], np.float64).astype(np.float32)
