"""IQ2_XXS: 256 weights as 32 vectors of a grid, with signs, in 8 groups with a 4-bit scale. 66 bytes, 2.0625 bits per weight.

    w = d * (2 scale + 1) / 8 * sign * grid[q]

Reference: ggml/src/ggml-common.h, block_iq2_xxs.
"""

from types import SimpleNamespace

import numpy as np

from llmc.frontend.quant._grids import IQ2_XXS_GRID
from llmc.frontend.quant._sign_words import signs_and_scale
from llmc.ir.grid import Signs
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    groups = b.groups.reshape(-1, 8, 8)
    signs, scale = signs_and_scale(groups[:, :, 4:])
    return Parts(codes=groups[:, :, :4].reshape(-1, 32).astype(np.uint16), d=b.d, scale=scale, signs=signs)


IQ2_XXS = BlockFormat(
    name="iq2_xxs", ggml_type=16, weights=256, nbytes=66,
    layout=(Field("d", "f16"), Field("groups", "u8", 64)),
    codes=IntCodes(8), group=32, scale=IntCodes(4, -1, step=2), min=None, codebook=None, parts=_parts,
    unit=0.125, grid=IQ2_XXS_GRID, signs=Signs(7),
)  # fmt: skip
