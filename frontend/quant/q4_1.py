"""Q4_1: 32 weights share an f16 scale and an f16 min. 20 bytes, 5 bits per weight.   w = d * q + m

Reference: ggml/src/ggml-common.h, block_q4_1.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Min, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d, dmin=b.m)


Q4_1 = BlockFormat(
    name="q4_1", ggml_type=3, weights=32, nbytes=20,
    layout=(Field("d", "f16"), Field("m", "f16"), Field("q", "u4", 32, plane=16)),
    codes=IntCodes(4), group=32, scale=None, min=Min(+1, None), codebook=None, parts=_parts,
)  # fmt: skip
