"""Rotation frequencies, computed in decimal arithmetic.

The frequencies enter the artifact, so they must not depend on a libm or on numpy's vector code: `decimal` rounds its exp and ln
correctly on every machine.  RoPE: Su et al., arXiv:2104.09864.  YaRN: Peng et al., arXiv:2309.00071.  The mix of Llama 3.1:
its model card and transformers' modeling_rope_utils.
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
    """How positions beyond the trained context are squeezed. `factor` is the ratio of new to original context.

    "longrope" (arXiv:2402.13753) keeps the frequencies: the checkpoint brings two sets of factors for them, and the context that
    a session declares says which is taken; `short` and `long` are those of config.json, empty where they are tensors. Between
    `beta_fast` and `beta_slow` ("yarn"), or `high` and `low` ("llama3"), rotations in the original context lies a ramp from
    frequencies as they are to frequencies divided by the factor; yarn's lies between whole dimensions if `truncate`. yarn
    multiplies cos and sin by `magnitude`, or, where it is None, by attention_factor * (0.1 ln factor + 1).
    """

    kind: str = "none"  # none, linear, yarn, llama3, longrope, proportional
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    low: float = 1.0
    high: float = 4.0
    magnitude: float | None = None
    truncate: bool = True
    share: float = 1.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()


def frequencies(dims: int, base: float, scaling: RopeScaling) -> tuple[npt.NDArray[np.float32], float]:
    """(f32 [dims/2] radians per position, factor of cos and sin)."""
    with localcontext(_PRECISION):
        log_base = Decimal(base).ln()
        plain = [(-Decimal(2 * i) / dims * log_base).exp() for i in range(dims // 2)]
        if scaling.kind == "none":
            return _f32(plain), 1.0
        if scaling.kind == "longrope":
            return _f32(plain), float(np.float32(scaling.attention_factor))
        squeezed = [f / Decimal(scaling.factor) for f in plain]
        if scaling.kind == "linear":
            return _f32(squeezed), 1.0
        if scaling.kind == "proportional":
            turning = int(scaling.share * dims // 2)
            return _f32([*squeezed[:turning], *[Decimal(0)] * (dims // 2 - turning)]), 1.0
        keep = _llama3_keep(plain, scaling) if scaling.kind == "llama3" else _yarn_keep(dims, log_base, scaling)
        mixed = [s * (1 - k) + p * k for s, p, k in zip(squeezed, plain, keep, strict=True)]
        return _f32(mixed), 1.0 if scaling.kind == "llama3" else _yarn_magnitude(scaling)


def yarn_mscale(factor: float, weight: float = 1.0) -> Decimal:
    """How much longer sequences flatten attention: 0.1 * weight * ln(factor) + 1."""
    with localcontext(_PRECISION):
        return Decimal("0.1") * Decimal(weight) * Decimal(factor).ln() + 1


def longrope_magnitude(factor: float, original_context: int) -> float:
    """What cos and sin are multiplied by where nothing says it: sqrt(1 + ln(factor) / ln(original context)), at least 1."""
    with localcontext(_PRECISION):
        if factor <= 1.0 or original_context < 2:
            return 1.0
        return float((1 + Decimal(factor).ln() / Decimal(original_context).ln()).sqrt())


def _yarn_magnitude(scaling: RopeScaling) -> float:
    """The factor of cos and sin, an f32."""
    if scaling.magnitude is not None:
        return float(np.float32(scaling.magnitude))
    return float(np.float32(float(yarn_mscale(scaling.factor) * Decimal(scaling.attention_factor))))


def _llama3_keep(plain: list[Decimal], scaling: RopeScaling) -> list[Decimal]:
    """Per pair: 1 keeps the original frequency, 0 squeezes it, a ramp over the rotations between, or a step."""
    low, high = Decimal(scaling.low), Decimal(scaling.high)
    rotations = [scaling.original_context * frequency / (2 * _PI) for frequency in plain]
    if low == high:
        return [Decimal(int(r > high)) for r in rotations]
    return [min(max((r - low) / (high - low), Decimal(0)), Decimal(1)) for r in rotations]


def _yarn_keep(dims: int, log_base: Decimal, scaling: RopeScaling) -> list[Decimal]:
    """Per pair: 1 keeps the original frequency, 0 squeezes it, a ramp between the two correction dimensions."""

    def dimension(rotations: float) -> Decimal:
        return dims * (scaling.original_context / (Decimal(rotations) * 2 * _PI)).ln() / (2 * log_base)

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = low.to_integral_value("ROUND_FLOOR"), high.to_integral_value("ROUND_CEILING")
    low, high = max(Decimal(0), low), min(Decimal(dims - 1), high)
    span = max(Decimal("0.001"), high - low)
    return [1 - min(max((i - low) / span, Decimal(0)), Decimal(1)) for i in range(dims // 2)]


def _f32(values: list[Decimal]) -> npt.NDArray[np.float32]:
    return np.array([float(v) for v in values], np.float64).astype(np.float32)
