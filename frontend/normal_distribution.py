"""Quantiles of the normal distribution, in decimal arithmetic: they enter the artifact, so no libm may have a part in them."""

from __future__ import annotations

from decimal import Decimal, localcontext
from statistics import NormalDist

import numpy as np

_PRECISION = 40
_ROOT_2_PI = Decimal("2.506628274631000502415765284811045253006986740609938316629923576342293654607")


def deviations(share: float) -> float:
    """How many standard deviations above the mean the part of a normal distribution begins that has all but `share` of it.

    share: an f32 between 0 and 1. Two steps of Newton's method, after which nothing is left of where they began.
    """
    with localcontext(prec=_PRECISION):
        wanted, x = Decimal(float(np.float32(share))), Decimal(NormalDist().inv_cdf(float(np.float32(share))))
        for _ in range(2):
            x -= (_below(x) - wanted) / _density(x)
        return float(x)


def _density(x: Decimal) -> Decimal:
    return (-x * x / 2).exp() / _ROOT_2_PI


def _below(x: Decimal) -> Decimal:
    """The share below x: 1/2 + density(x) * (x + x^3 / 3 + x^5 / 15 + ...)."""
    term = total = x
    n = 1
    while abs(term) > Decimal(10) ** -_PRECISION:
        n += 2
        term = term * x * x / n
        total += term
    return Decimal("0.5") + _density(x) * total
