"""IQ4_NL: 32 indices into a codebook of 16 levels share one f16 scale. 18 bytes, 4.5 bits per weight.   w = d * level[q]

Reference: ggml/src/ggml-common.h, block_iq4_nl.
"""

from types import SimpleNamespace

from llmc.frontend.quant._iq4_codebook import IQ4_LEVELS
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d)


IQ4_NL = BlockFormat(
    name="iq4_nl", ggml_type=20, weights=32, nbytes=18,
    layout=(Field("d", "f16"), Field("q", "u4", 32, plane=16)),
    codes=IntCodes(4), group=32, scale=None, min=None, codebook=IQ4_LEVELS, parts=_parts,
)  # fmt: skip
