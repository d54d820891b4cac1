"""NVFP4: 64 floats of 4 bits in 4 groups, each with an unsigned float of 8 bits. 36 bytes, 4.5 bits per weight.

    w = scale * level[q] / 2

Reference: ggml/src/ggml-common.h, block_nvfp4.
"""

from types import SimpleNamespace

from llmc.frontend.quant._e2m1_codebook import E2M1_LEVELS
from llmc.ir.quant import BlockFormat, Field, IntCodes, Parts, Ue4m3


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=None, scale=b.scale)


NVFP4 = BlockFormat(
    name="nvfp4", ggml_type=40, weights=64, nbytes=36,
    layout=(Field("scale", "u8", 4), Field("q", "u4", 64, plane=8)),
    codes=IntCodes(4), group=16, scale=Ue4m3(), min=None, codebook=E2M1_LEVELS, parts=_parts, factor="one", unit=0.5,
)  # fmt: skip
