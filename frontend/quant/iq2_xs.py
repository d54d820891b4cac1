"""IQ2_XS: 256 weights as 32 vectors of a grid, with signs, in 16 groups with a 4-bit scale. 74 bytes, 2.3125 bits per weight.

    w = d * (2 scale + 1) / 8 * sign * grid[q]

Reference: ggml/src/ggml-common.h, block_iq2_xs.
"""

from types import SimpleNamespace

import numpy as np

from llmc.frontend.quant._grids import IQ2_XS_GRID
from llmc.ir.grid import Signs
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    words = b.words.view("<u2")  # nine bits of code, seven signs
    return Parts(codes=words & np.uint16(511), d=b.d, scale=b.scale, signs=(words >> np.uint16(9)).astype(np.uint8))


IQ2_XS = BlockFormat(
    name="iq2_xs", ggml_type=17, weights=256, nbytes=74,
    layout=(Field("d", "f16"), Field("words", "u8", 64), Field("scale", "u4", 16)),
    codes=IntCodes(9), group=16, scale=IntCodes(4, -1, step=2), min=None, codebook=None, parts=_parts,
    unit=0.125, grid=IQ2_XS_GRID, signs=Signs(7),
)  # fmt: skip
