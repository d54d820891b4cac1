"""IQ1_S: 256 weights as 32 vectors of a grid in 8 groups with a 3-bit scale and a shift. 50 bytes, 1.5625 bits per weight.

    w = d * (2 scale + 1) * (point[q] +- 1/8), point -1, 0 or 1

A word of 16 bits per group holds four times the upper 3 bits of a code, the scale, and whether the shift is down.
Reference: ggml/src/ggml-common.h, block_iq1_s.
"""

from types import SimpleNamespace

import numpy as np

from llmc.frontend.quant._grids import IQ1_GRID
from llmc.frontend.quant._wide_codes import wide
from llmc.ir.grid import Shift
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    words = b.words.view("<u2")
    high = (words[:, :, None] >> np.arange(0, 12, 3, dtype=np.uint16) & np.uint16(7)).reshape(-1, 32)
    scale = (words >> np.uint16(12) & np.uint16(7)).astype(np.uint8)
    return Parts(codes=wide(b.low, high), d=b.d, scale=scale, signs=(words >> np.uint16(15)).astype(np.uint8))


IQ1_S = BlockFormat(
    name="iq1_s", ggml_type=19, weights=256, nbytes=50,
    layout=(Field("d", "f16"), Field("low", "u8", 32), Field("words", "u8", 16)),
    codes=IntCodes(11), group=32, scale=IntCodes(3, -1, step=2), min=None, codebook=None, parts=_parts,
    unit=0.125, grid=IQ1_GRID, signs=Shift(-2, 32),
)  # fmt: skip
