"""Q1_0: 128 signs share one f16 scale. 18 bytes, 1.125 bits per weight.   w = d * (2 q - 1)

Reference: ggml/src/ggml-common.h, block_q1_0.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d)


Q1_0 = BlockFormat(
    name="q1_0", ggml_type=41, weights=128, nbytes=18,
    layout=(Field("d", "f16"), Field("q", "u1", 128)),
    codes=IntCodes(1, 1, step=2), group=128, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
