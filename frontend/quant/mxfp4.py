"""MXFP4: 32 floats of 4 bits share a power of two. 17 bytes, 4.25 bits per weight.   w = 2^(e - 128) * level[q]

Reference: OCP Microscaling Formats 1.0; ggml/src/ggml-common.h, block_mxfp4.
"""

from types import SimpleNamespace

from llmc.frontend.quant._e2m1_codebook import E2M1_LEVELS
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.e)


MXFP4 = BlockFormat(
    name="mxfp4", ggml_type=39, weights=32, nbytes=17,
    layout=(Field("e", "u8"), Field("q", "u4", 32, plane=16)),
    codes=IntCodes(4), group=32, scale=None, min=None, codebook=E2M1_LEVELS, parts=_parts, factor="e8m0",
)  # fmt: skip
