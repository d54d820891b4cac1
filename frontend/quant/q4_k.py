"""Q4_K: 256 weights in 8 groups, each with a 6-bit scale and a 6-bit min. 144 bytes, 4.5 bits per weight.

    w = d * scale * q - dmin * min

Reference: ggml/src/ggml-common.h, block_q4_K.
"""

from types import SimpleNamespace

from llmc.frontend.quant._k_scales import scales_and_mins
from llmc.ir.quant import BlockFormat, Field, IntCodes, Min, Parts


def _parts(b: SimpleNamespace) -> Parts:
    scale, minimum = scales_and_mins(b.scale_min)
    return Parts(codes=b.q, d=b.d, scale=scale, dmin=b.dmin, min=minimum)


Q4_K = BlockFormat(
    name="q4_k", ggml_type=12, weights=256, nbytes=144,
    layout=(Field("d", "f16"), Field("dmin", "f16"), Field("scale_min", "u8", 12), Field("q", "u4", 256, plane=32)),
    codes=IntCodes(4), group=32, scale=IntCodes(6), min=Min(-1, IntCodes(6)), codebook=None, parts=_parts,
)  # fmt: skip
