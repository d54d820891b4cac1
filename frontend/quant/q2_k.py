"""Q2_K: 256 weights in 16 groups, each with a 4-bit scale and a 4-bit min. 84 bytes, 2.625 bits per weight.

    w = d * scale * q - dmin * min

Reference: ggml/src/ggml-common.h, block_q2_K.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Min, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d, scale=b.scale_min[:, :16], dmin=b.dmin, min=b.scale_min[:, 16:])


Q2_K = BlockFormat(
    name="q2_k", ggml_type=10, weights=256, nbytes=84,
    layout=(Field("scale_min", "u4", 32, plane=16), Field("q", "u2", 256, plane=32), Field("d", "f16"), Field("dmin", "f16")),
    codes=IntCodes(2), group=16, scale=IntCodes(4), min=Min(-1, IntCodes(4)), codebook=None, parts=_parts,
)  # fmt: skip
