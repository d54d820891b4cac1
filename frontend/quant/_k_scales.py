"""The twelve bytes in which Q4_K and Q5_K keep eight 6-bit scales and eight 6-bit mins."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def scales_and_mins(s: Bytes) -> tuple[Bytes, Bytes]:
    """s u8 [blocks, 12] -> scales, mins, both u8 [blocks, 8].

    Bytes 0-3 hold scales 0-3 and bytes 4-7 mins 0-3 in their low six bits; bytes 8-11 hold the low four bits of scales 4-7 (low
    nibble) and of mins 4-7 (high nibble), whose upper two bits are the spare top bits of bytes 0-3 and 4-7.
    """
    scale, minimum, both = s[:, 0:4], s[:, 4:8], s[:, 8:12]
    scales = np.concatenate([scale & 63, both & 15 | scale >> 6 << 4], axis=1)
    mins = np.concatenate([minimum & 63, both >> 4 | minimum >> 6 << 4], axis=1)
    return scales, mins
