"""Q5_1: 32 weights share an f16 scale and an f16 min; fifth bits apart. 24 bytes, 6 bits per weight.   w = d * q + m

Reference: ggml/src/ggml-common.h, block_q5_1.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Min, Parts, joined


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=joined(b.low, b.high, 4), d=b.d, dmin=b.m)


Q5_1 = BlockFormat(
    name="q5_1", ggml_type=7, weights=32, nbytes=24,
    layout=(Field("d", "f16"), Field("m", "f16"), Field("high", "u1", 32), Field("low", "u4", 32, plane=16)),
    codes=IntCodes(5), group=32, scale=None, min=Min(+1, None), codebook=None, parts=_parts,
)  # fmt: skip
