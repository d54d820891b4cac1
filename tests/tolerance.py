"""How far a kernel may be from its reference, and why. One table, so that a loosened bound is seen.

Bounds of sums are relative to the L1 norm of the products that are added: an output near zero may be a difference of large terms.
"""

import numpy as np
from numpy.typing import NDArray

# Sums of K products in single precision with one rounding each: the error grows like sqrt(K) * 2^-24, K up to a few thousand.
F32_SUM = 5e-6
# The same after exact integer sums of 16 or 32 products.
Q8_SUM = 2e-6
# exp, cos and sin from polynomials of single precision.
F32_FUNCTION = 2e-7


def assert_sum_close(
    actual: NDArray[np.floating], expected: NDArray[np.floating], l1: NDArray[np.floating], bound: float
) -> None:
    """|actual - expected| <= bound * l1 everywhere; l1 is the sum of the magnitudes that were added."""
    error = np.abs(actual.astype(np.float64) - expected)
    worst = np.unravel_index(np.argmax(error - bound * l1), error.shape)
    assert error[worst] <= bound * l1[worst], f"at {worst}: {actual[worst]} instead of {expected[worst]}, L1 {l1[worst]}"
