"""Q3_K: 256 weights in 16 groups, each with a 6-bit scale. 110 bytes, 3.4375 bits per weight.   w = d * (scale - 32) * (q - 4)

Reference: ggml/src/ggml-common.h, block_q3_K.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts, joined


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=joined(b.low, b.high, 2), d=b.d, scale=joined(b.scale_low, b.scale_high, 4))


Q3_K = BlockFormat(
    name="q3_k", ggml_type=11, weights=256, nbytes=110,
    layout=(Field("high", "u1", 256, plane=32), Field("low", "u2", 256, plane=32),
            Field("scale_low", "u4", 16, plane=8), Field("scale_high", "u2", 16, plane=4), Field("d", "f16")),
    codes=IntCodes(3, 4), group=16, scale=IntCodes(6, 32), min=None, codebook=None, parts=_parts,
)  # fmt: skip
