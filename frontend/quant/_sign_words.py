"""The 32-bit words in which IQ2_XXS and IQ3_XXS keep four times seven signs and the scale of 32 weights."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def signs_and_scale(words: Bytes) -> tuple[Bytes, Bytes]:
    """words u8 [blocks, 8, 4] -> signs u8 [blocks, 32], 7 bits each, lowest first; scales u8 [blocks, 8], the top four bits."""
    whole = np.ascontiguousarray(words).view("<u4")
    signs = whole >> np.arange(0, 28, 7, dtype=np.uint32) & np.uint32(127)
    return signs.astype(np.uint8).reshape(len(words), -1), (whole[:, :, 0] >> np.uint32(28)).astype(np.uint8)
