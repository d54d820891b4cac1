"""Q6_K: 256 weights in 16 groups, each with a signed 8-bit scale; d comes last. 210 bytes, 6.5625 bits per weight.

    w = d * scale * (q - 32)

Reference: ggml/src/ggml-common.h, block_q6_K.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts, excess_128, joined


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=joined(b.low, b.high, 4), d=b.d, scale=excess_128(b.scale))


Q6_K = BlockFormat(
    name="q6_k", ggml_type=14, weights=256, nbytes=210,
    layout=(Field("low", "u4", 256, plane=64), Field("high", "u2", 256, plane=32), Field("scale", "i8", 16), Field("d", "f16")),
    codes=IntCodes(6, 32), group=16, scale=IntCodes(8, 128), min=None, codebook=None, parts=_parts,
)  # fmt: skip
