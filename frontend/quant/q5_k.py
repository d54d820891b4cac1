"""Q5_K: 256 weights in 8 groups, each with a 6-bit scale and a 6-bit min; fifth bits apart. 176 bytes, 5.5 bits per weight.

    w = d * scale * q - dmin * min

Reference: ggml/src/ggml-common.h, block_q5_K.
"""

from types import SimpleNamespace

from llmc.frontend.quant._k_scales import scales_and_mins
from llmc.ir.quant import BlockFormat, Field, IntCodes, Min, Parts, joined


def _parts(b: SimpleNamespace) -> Parts:
    scale, minimum = scales_and_mins(b.scale_min)
    return Parts(codes=joined(b.low, b.high, 4), d=b.d, scale=scale, dmin=b.dmin, min=minimum)


Q5_K = BlockFormat(
    name="q5_k", ggml_type=13, weights=256, nbytes=176,
    layout=(Field("d", "f16"), Field("dmin", "f16"), Field("scale_min", "u8", 12),
            Field("high", "u1", 256, plane=32), Field("low", "u4", 256, plane=32)),
    codes=IntCodes(5), group=32, scale=IntCodes(6), min=Min(-1, IntCodes(6)), codebook=None, parts=_parts,
)  # fmt: skip
