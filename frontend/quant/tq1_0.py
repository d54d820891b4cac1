"""TQ1_0: 256 ternary weights, five to a byte, share one f16 scale. 54 bytes, 1.6875 bits per weight.   w = d * (q - 1)

The first 32 bytes hold weights 0-159, byte j those that are j modulo 32; the next 16 bytes hold 160-239 in the same way; the
last four hold four each.

Reference: ggml/src/ggml-common.h, block_tq1_0.
"""

from types import SimpleNamespace

import numpy as np

from llmc.ir.quant import BlockFormat, Field, Parts, Trits, trit

_DIGITS = (("q32", 5), ("q16", 5), ("q4", 4))


def _parts(b: SimpleNamespace) -> Parts:
    digits = [trit(getattr(b, name), digit) for name, count in _DIGITS for digit in range(count)]
    return Parts(codes=np.concatenate(digits, axis=1), d=b.d)


TQ1_0 = BlockFormat(
    name="tq1_0", ggml_type=34, weights=256, nbytes=54,
    layout=(Field("q32", "u8", 32), Field("q16", "u8", 16), Field("q4", "u8", 4), Field("d", "f16")),
    codes=Trits(offset=1), group=256, scale=None, min=None, codebook=None, parts=_parts,
)  # fmt: skip
