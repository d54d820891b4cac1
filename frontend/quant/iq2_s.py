"""IQ2_S: 256 weights as 32 vectors of a grid, with signs, in 16 groups with a 4-bit scale. 82 bytes, 2.5625 bits per weight.

    w = d * (2 scale + 1) / 8 * sign * grid[q]

Reference: ggml/src/ggml-common.h, block_iq2_s.
"""

from types import SimpleNamespace

from llmc.frontend.quant._grids import IQ2_S_GRID
from llmc.frontend.quant._wide_codes import wide
from llmc.ir.grid import Signs
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=wide(b.low, b.high), d=b.d, scale=b.scale, signs=b.signs)


IQ2_S = BlockFormat(
    name="iq2_s", ggml_type=22, weights=256, nbytes=82,
    layout=(Field("d", "f16"), Field("low", "u8", 32), Field("signs", "u8", 32),
            Field("high", "u2", 32), Field("scale", "u4", 16)),
    codes=IntCodes(10), group=16, scale=IntCodes(4, -1, step=2), min=None, codebook=None, parts=_parts,
    unit=0.125, grid=IQ2_S_GRID, signs=Signs(8),
)  # fmt: skip
