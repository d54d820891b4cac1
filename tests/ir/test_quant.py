"""The vocabulary of formats: what a declaration may say, and what its parts mean."""

from types import SimpleNamespace

import numpy as np
import pytest

from llmc.ir.quant import E4M3, BlockFormat, Bytes, DenseFormat, Field, Format, IntCodes, Min, Parts, dequantize, levels, split


def _parts(b: SimpleNamespace) -> Parts:
    return Parts(codes=b.q, d=b.d)


def declare(**changed: object) -> BlockFormat:
    """A format of four 4-bit codes under one f16, with some facts changed."""
    facts: dict[str, object] = dict(
        name="tiny", ggml_type=99, weights=4, nbytes=4, layout=(Field("d", "f16"), Field("q", "u4", 4, plane=2)),
        codes=IntCodes(4, 8), group=4, scale=None, min=None, codebook=None, parts=_parts,
    )  # fmt: skip
    return BlockFormat(**{**facts, **changed})  # type: ignore[arg-type]


def block(d: float, *stored: int) -> Bytes:
    return np.concatenate([np.array([d], "<f2").view(np.uint8), np.array(stored, np.uint8)])


def test_planes_hold_low_nibbles_first() -> None:
    assert split(declare(), block(1.0, 0x31, 0x42)).codes.tolist() == [[1, 2, 3, 4]]


def test_plane_of_one_byte_is_plain_packing() -> None:
    fmt = declare(layout=(Field("d", "f16"), Field("q", "u4", 4, plane=1)))
    assert split(fmt, block(1.0, 0x21, 0x43)).codes.tolist() == [[1, 2, 3, 4]]


def test_single_bits_unpack_from_the_lowest() -> None:
    fmt = declare(weights=16, group=16, layout=(Field("d", "f16"), Field("q", "u1", 16)), codes=IntCodes(1))
    assert split(fmt, block(1.0, 0b101, 0x80)).codes.tolist() == [[1, 0, 1] + [0] * 12 + [1]]


def test_dequantizes_with_offset_and_scale() -> None:
    assert dequantize(declare(), block(0.5, 0x98, 0x0F)).tolist() == [0.0, 3.5, 0.5, -4.0]


def test_codebook_replaces_the_offset() -> None:
    fmt = declare(codes=IntCodes(4), codebook=tuple(range(100, 116)))
    assert levels(fmt, split(fmt, block(2.0, 0xF0, 0x32))).tolist() == [[100, 102, 115, 103]]
    assert dequantize(fmt, block(2.0, 0x10, 0x32)).tolist() == [200.0, 204.0, 202.0, 206.0]


@pytest.mark.parametrize("blocks", [0, 1, 3, 8])
def test_any_number_of_blocks_unpacks(blocks: int) -> None:
    raw = np.tile(block(1.0, 0x31, 0x42), blocks)
    assert split(declare(), raw).codes.tolist() == [[1, 2, 3, 4]] * blocks


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(nbytes=5), "layout is 4 bytes, format says 5"),
        (dict(group=3), "no whole groups"),
        (dict(codebook=(1, 2, 3)), "3 codebook values for 4-bit codes"),
    ],
)
def test_refuses_a_declaration_that_contradicts_itself(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declare(**changed)


def test_refuses_a_field_it_cannot_unpack() -> None:
    with pytest.raises(ValueError, match="unknown type u3"):
        Field("q", "u3", 8)
    with pytest.raises(ValueError, match="do not fill planes"):
        Field("q", "u4", 5)


def test_refuses_a_min_without_direction() -> None:
    with pytest.raises(ValueError, match="-1 or 1"):
        Min(0, None)


def test_floats_of_8_bits() -> None:
    values = dequantize(E4M3, np.arange(256, dtype=np.uint8))
    exponent, mantissa = np.arange(127) >> 3, np.arange(127) & 7
    expected = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    assert np.array_equal(values[:127], expected) and np.array_equal(values[128:255], -expected)
    assert values[126] == 448 and np.isnan(values[[127, 255]]).all()


def test_refuses_a_dense_format_of_another_size() -> None:
    with pytest.raises(ValueError, match="bf16 of 4 bytes"):
        DenseFormat("bf16", 30, 4)


@pytest.mark.parametrize("fmt", [declare(), DenseFormat("f32", 0, 4)], ids=lambda f: f.name)
def test_refuses_half_a_block(fmt: Format) -> None:
    with pytest.raises(ValueError, match="no whole"):
        dequantize(fmt, np.zeros(fmt.nbytes + 1, np.uint8))


def test_sizes_of_a_row() -> None:
    assert declare().row_bytes(12) == 12
    assert declare().bits_per_weight == 8.0
    assert DenseFormat("f16", 1, 2).row_bytes(5) == 10
    with pytest.raises(ValueError, match="10 is not a multiple"):
        declare().row_bytes(10)
