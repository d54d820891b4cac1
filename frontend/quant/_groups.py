"""Numbers in groups, as Hugging Face checkpoints have them: `group` columns share a scale, and a zero point where there is one.

    w = scale * (q - zero)        integers of 2 to 8 bits
    w = scale * q                 floats of 8 bits
    w = scale * s * level[q]      floats of 4 bits (NVFP4): s, a float of 8 bits, for every 16 columns

Where every zero point of a tensor is the middle of the range, none is stored. Codes lie in the order of columns, low bits first;
those that do not fill bytes are split in runs of 4, 2 and 1 bits. `factor` is the type of the scales.
"""

from functools import cache
from types import SimpleNamespace
from typing import Final

from llmc.frontend.quant._e2m1_codebook import E2M1_LEVELS
from llmc.ir.quant import FACTOR_BYTES, BlockFormat, Bytes, E4m3, Field, IntCodes, Min, Parts, Ue4m3, joined

RUNS: Final = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,)}
BITS: Final = tuple(RUNS)
NVFP4_GROUP: Final = 16


def _codes(b: SimpleNamespace) -> Bytes:
    codes: Bytes = b.q0
    for at in (2, 4, 6):
        if hasattr(b, f"q{at}"):
            codes = joined(codes, getattr(b, f"q{at}"), at)
    return codes


def _centred(b: SimpleNamespace) -> Parts:
    return Parts(codes=_codes(b), d=b.d)


def _with_zeros(b: SimpleNamespace) -> Parts:
    return Parts(codes=_codes(b), d=b.d, min=b.zero[:, None])


def _with_scales(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q0, d=b.d, scale=b.scale.reshape(len(b.d), -1))


def runs(bits: int) -> tuple[tuple[int, int], ...]:
    """(first bit, width) of the runs of codes."""
    widths = RUNS[bits]
    return tuple((sum(widths[:i]), width) for i, width in enumerate(widths))


@cache
def group_format(bits: int, group: int, zeros: bool, factor: str = "f16") -> BlockFormat:
    """Integers in blocks of one group. Zero points have 8 bits, and those of 8-bit codes count from 128 as the codes do."""
    codes = tuple(Field(f"q{at}", f"u{width}", group) for at, width in runs(bits))
    head = (Field("d", factor), Field("zero", "u8")) if zeros else (Field("d", factor),)
    offset = 128 if bits == 8 else 0
    name = f"int{bits}_g{group}" + ("_zero" if zeros else "") + _suffix(factor)
    return BlockFormat(
        name=name, ggml_type=-1, weights=group, nbytes=sum(f.nbytes for f in (*head, *codes)), layout=(*head, *codes),
        codes=IntCodes(bits, offset if zeros else 1 << (bits - 1)), group=group, scale=None,
        min=Min(-1, IntCodes(8, offset), zero_point=True) if zeros else None, codebook=None,
        parts=_with_zeros if zeros else _centred, factor=factor,
    )  # fmt: skip


@cache
def float8_format(group: int, factor: str) -> BlockFormat:
    """E4M3 floats in blocks of one group."""
    return BlockFormat(
        name=f"e4m3_g{group}{_suffix(factor)}", ggml_type=-1, weights=group, nbytes=group + FACTOR_BYTES[factor],
        layout=(Field("d", factor), Field("q0", "u8", group)),
        codes=E4m3(), group=group, scale=None, min=None, codebook=None, parts=_centred, factor=factor,
    )  # fmt: skip


@cache
def nvfp4_format(weights: int) -> BlockFormat:
    """NVFP4 whose scales of 8 bits have an f32 factor, the same in all blocks of a tensor."""
    groups = weights // NVFP4_GROUP
    return BlockFormat(
        name=f"nvfp4_b{weights}_f32", ggml_type=-1, weights=weights, nbytes=4 + groups + weights // 2,
        layout=(Field("d", "f32"), Field("scale", "u8", groups), Field("q0", "u4", weights)),
        codes=IntCodes(4), group=NVFP4_GROUP, scale=Ue4m3(), min=None, codebook=E2M1_LEVELS, parts=_with_scales, factor="f32",
        unit=0.5,
    )  # fmt: skip


def _suffix(factor: str) -> str:
    return "" if factor == "f16" else f"_{factor}"
