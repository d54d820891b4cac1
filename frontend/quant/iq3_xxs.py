"""IQ3_XXS: 256 weights as 64 vectors of a grid, with signs, in 8 groups with a 4-bit scale. 98 bytes, 3.0625 bits per weight.

    w = d * (2 scale + 1) / 4 * sign * grid[q]

Reference: ggml/src/ggml-common.h, block_iq3_xxs.
"""

from types import SimpleNamespace

import numpy as np

from llmc.frontend.quant._grids import IQ3_XXS_GRID
from llmc.frontend.quant._sign_words import signs_and_scale
from llmc.ir.grid import Signs
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    signs, scale = signs_and_scale(b.words.reshape(-1, 8, 4))
    return Parts(codes=b.q.astype(np.uint16), d=b.d, scale=scale, signs=signs)


IQ3_XXS = BlockFormat(
    name="iq3_xxs", ggml_type=18, weights=256, nbytes=98,
    layout=(Field("d", "f16"), Field("q", "u8", 64), Field("words", "u8", 32)),
    codes=IntCodes(8), group=32, scale=IntCodes(4, -1, step=2), min=None, codebook=None, parts=_parts,
    unit=0.25, grid=IQ3_XXS_GRID, signs=Signs(7),
)  # fmt: skip
