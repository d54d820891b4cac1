"""TQ2_0: 256 ternary weights of 2 bits share one f16 scale. 66 bytes, 2.0625 bits per weight.   w = d * (q - 1)

Reference: ggml/src/ggml-common.h, block_tq2_0.
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d)


TQ2_0 = BlockFormat(
    name="tq2_0", ggml_type=35, weights=256, nbytes=66,
    layout=(Field("q", "u2", 256, plane=32), Field("d", "f16")),
    codes=IntCodes(2, 1), group=256, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
