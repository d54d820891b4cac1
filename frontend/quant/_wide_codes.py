"""Codes of more than eight bits, whose upper bits are stored apart."""

import numpy as np
from numpy.typing import NDArray


def wide(low: NDArray[np.uint8], high: NDArray[np.integer]) -> NDArray[np.uint16]:
    """low u8, high of any unsigned type, same shape -> u16."""
    return low.astype(np.uint16) | high.astype(np.uint16) << np.uint16(8)
