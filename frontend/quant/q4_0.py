"""Q4_0: 32 weights share one f16 scale. 18 bytes, 4.5 bits per weight.   w = d * (q - 8)

Reference: ggml/src/ggml-common.h, block_q4_0.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d)


Q4_0 = BlockFormat(
    name="q4_0", ggml_type=2, weights=32, nbytes=18,
    layout=(Field("d", "f16"), Field("q", "u4", 32, plane=16)),
    codes=IntCodes(4, 8), group=32, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
