"""Q2_0: 64 weights share one f16 scale. 18 bytes, 2.25 bits per weight.   w = d * (q - 1)

Reference: ggml/src/ggml-common.h, block_q2_0. (Some files give this type to blocks of 128: their sizes do not add up here.)
"""

from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d)


Q2_0 = BlockFormat(
    name="q2_0", ggml_type=42, weights=64, nbytes=18,
    layout=(Field("d", "f16"), Field("q", "u2", 64)),
    codes=IntCodes(2, 1), group=64, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
