"""IQ3_S: 256 weights as 64 vectors of a grid, with signs, in 8 groups with a 4-bit scale. 110 bytes, 3.4375 bits per weight.

    w = d * (2 scale + 1) * sign * grid[q]

Reference: ggml/src/ggml-common.h, block_iq3_s.
"""

from types import SimpleNamespace

from llmc.frontend.quant._grids import IQ3_S_GRID
from llmc.frontend.quant._wide_codes import wide
from llmc.ir.grid import Signs
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=wide(b.low, b.high), d=b.d, scale=b.scale, signs=b.signs)


IQ3_S = BlockFormat(
    name="iq3_s", ggml_type=21, weights=256, nbytes=110,
    layout=(Field("d", "f16"), Field("low", "u8", 64), Field("high", "u1", 64),
            Field("signs", "u8", 32), Field("scale", "u4", 8)),
    codes=IntCodes(9), group=32, scale=IntCodes(4, -1, step=2), min=None, codebook=None, parts=_parts,
    grid=IQ3_S_GRID, signs=Signs(8),
)  # fmt: skip
