"""ALiBi: attention scores fall with distance, for each head by its own slope.  Press et al., arXiv:2108.12409.

Slopes enter the artifact, so they are computed in decimal arithmetic, as frequencies are.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

_PRECISION = Context(prec=40)
MAX_BIAS = 8.0


def slopes(heads: int, max_bias: float = MAX_BIAS, scale: float = 1.0) -> tuple[float, ...]:
    """One for each head, times `scale`: 2^(-max_bias * i / p) of i = 1..p, where p heads are a power of two.

    For another number, those of the power of two below, then those of the power above that lie between them.
    """
    below = 1 << (heads.bit_length() - 1)
    steps = [Decimal(i) / below for i in range(1, below + 1)]
    steps += [Decimal(2 * i + 1) / (2 * below) for i in range(heads - below)]
    with localcontext(_PRECISION):
        return tuple(float(Decimal(scale) * (-Decimal(max_bias) * step * Decimal(2).ln()).exp()) for step in steps)
