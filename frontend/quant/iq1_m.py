"""IQ1_M: 256 weights as 32 vectors of a grid, each with a shift, in 16 groups with a 3-bit scale. 56 bytes, 1.75 bits per weight.

    w = d * (2 scale + 1) * (point[q] +- 1/8), point -1, 0 or 1

Four words of 16 bits hold four scales each and, in their top four bits, a part of the f16 d, lowest first.
Reference: ggml/src/ggml-common.h, block_iq1_m.
"""

from types import SimpleNamespace

import numpy as np

from llmc.frontend.quant._grids import IQ1_GRID
from llmc.frontend.quant._wide_codes import wide
from llmc.ir.grid import Shift
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    words = b.words.view("<u2")
    nibbles = words >> np.uint16(12) << np.arange(0, 16, 4, dtype=np.uint16)
    scale = words[:, :, None] >> np.arange(0, 12, 3, dtype=np.uint16) & np.uint16(7)
    return Parts(
        codes=wide(b.low, b.high & np.uint8(7)),
        d=np.bitwise_or.reduce(nibbles, axis=1).astype("<u2").view("<f2"),
        scale=scale.astype(np.uint8).reshape(-1, 16),
        signs=b.high >> np.uint8(3),
    )


IQ1_M = BlockFormat(
    name="iq1_m", ggml_type=29, weights=256, nbytes=56,
    layout=(Field("low", "u8", 32), Field("high", "u4", 32), Field("words", "u8", 8)),
    codes=IntCodes(11), group=16, scale=IntCodes(3, -1, step=2), min=None, codebook=None, parts=_parts,
    unit=0.125, grid=IQ1_GRID, signs=Shift(-2, 8),
)  # fmt: skip
