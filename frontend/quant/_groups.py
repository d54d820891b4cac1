"""Integers in groups, as GPTQ and AWQ have them: `group` columns share an f16 scale and a zero point.   w = scale * (q - zero)

Where every zero point of a tensor is the middle of the range, none is stored. Codes lie in the order of columns, low bits first.
"""

from functools import cache
from types import SimpleNamespace

from llmc.ir.quant import BlockFormat, Bytes, Field, IntCodes, Min, Parts, joined

BITS = (2, 3, 4, 8)


def _codes(b: SimpleNamespace) -> Bytes:
    codes: Bytes = joined(b.low, b.high, 2) if hasattr(b, "high") else b.q
    return codes


def _centred(b: SimpleNamespace) -> Parts:
    return Parts(codes=_codes(b), d=b.d)


def _with_zeros(b: SimpleNamespace) -> Parts:
    return Parts(codes=_codes(b), d=b.d, dmin=b.dmin, min=b.zero[:, None])


@cache
def group_format(bits: int, group: int, zeros: bool) -> BlockFormat:
    """Blocks of one group. With `zeros` the scale stands there twice: once for the codes, once for the zero point.

    Zero points have 8 bits, and those of 8-bit codes count from 128 as the codes do.
    """
    codes = (Field("low", "u2", group), Field("high", "u1", group)) if bits == 3 else (Field("q", f"u{bits}", group),)
    head = (Field("d", "f16"), Field("dmin", "f16"), Field("zero", "u8")) if zeros else (Field("d", "f16"),)
    offset = 128 if bits == 8 else 0
    return BlockFormat(
        name=f"int{bits}_g{group}" + ("_zero" if zeros else ""), ggml_type=-1, weights=group,
        nbytes=sum(f.nbytes for f in (*head, *codes)), layout=(*head, *codes),
        codes=IntCodes(bits, offset if zeros else 1 << (bits - 1)), group=group, scale=None,
        min=Min(-1, IntCodes(8, offset)) if zeros else None, codebook=None, parts=_with_zeros if zeros else _centred,
    )  # fmt: skip
