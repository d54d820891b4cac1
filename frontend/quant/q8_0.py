"""Q8_0: 32 signed bytes share one f16 scale. 34 bytes, 8.5 bits per weight.   w = d * q

Reference: ggml/src/ggml-common.h, block_q8_0.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts, excess_128


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=excess_128(b.q), d=b.d)


Q8_0 = BlockFormat(
    name="q8_0", ggml_type=8, weights=32, nbytes=34,
    layout=(Field("d", "f16"), Field("q", "i8", 32)),
    codes=IntCodes(8, 128), group=32, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
