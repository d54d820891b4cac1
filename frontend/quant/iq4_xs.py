"""IQ4_XS: 256 indices into a codebook of 16 levels, in 8 groups with a 6-bit scale. 136 bytes, 4.25 bits per weight.

    w = d * (scale - 32) * level[q]

Reference: ggml/src/ggml-common.h, block_iq4_xs.
"""

from types import SimpleNamespace

from llmc.frontend.quant._iq4_codebook import IQ4_LEVELS
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts, joined


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d, scale=joined(b.scale_low, b.scale_high, 4))


IQ4_XS = BlockFormat(
    name="iq4_xs", ggml_type=23, weights=256, nbytes=136,
    layout=(Field("d", "f16"), Field("scale_high", "u2", 8), Field("scale_low", "u4", 8), Field("q", "u4", 256, plane=16)),
    codes=IntCodes(4), group=32, scale=IntCodes(6, 32), min=None, codebook=IQ4_LEVELS, parts=_parts,
)  # fmt: skip
