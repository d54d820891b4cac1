"""Q5_0: 32 weights share one f16 scale; fifth bits apart. 22 bytes, 5.5 bits per weight.   w = d * (q - 16)

Reference: ggml/src/ggml-common.h, block_q5_0.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts, joined


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=joined(b.low, b.high, 4), d=b.d)


Q5_0 = BlockFormat(
    name="q5_0", ggml_type=6, weights=32, nbytes=22,
    layout=(Field("d", "f16"), Field("high", "u1", 32), Field("low", "u4", 32, plane=16)),
    codes=IntCodes(5, 16), group=32, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
