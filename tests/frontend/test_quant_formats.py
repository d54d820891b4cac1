"""Every format against the `gguf` package, an independent decoder."""

import pickle
from dataclasses import replace

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.frontend.quant import BY_GGML_TYPE, FORMATS
from llmc.ir.quant import BlockFormat, Bytes, Format, IntCodes, dequantize, levels, split

F32 = NDArray[np.float32]
EVERY = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
BLOCKS = [f for f in FORMATS.values() if isinstance(f, BlockFormat)]
EVERY_BLOCK = pytest.mark.parametrize("fmt", BLOCKS, ids=lambda f: f.name)


def random_blocks(fmt: Format, blocks: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, blocks * fmt.nbytes, np.uint8)


def reference(fmt: Format, raw: Bytes) -> F32:
    with np.errstate(all="ignore"):  # random bytes hold infinities and NaN
        return np.ascontiguousarray(gguf.dequantize(raw, gguf.GGMLQuantizationType(fmt.ggml_type)), np.float32).reshape(-1)


def assert_same_bits(got: F32, want: F32) -> None:
    """Equal bit for bit; any NaN equals any other."""
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got[~nan].view(np.uint32), want[~nan].view(np.uint32))


@EVERY
@pytest.mark.parametrize("blocks", [1, 2, 257])
def test_decodes_random_bytes_like_gguf(fmt: Format, blocks: int) -> None:
    raw = random_blocks(fmt, blocks, seed=blocks)
    assert_same_bits(dequantize(fmt, raw), reference(fmt, raw))


@EVERY
@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF])
def test_decodes_extreme_bytes_like_gguf(fmt: Format, byte: int) -> None:
    raw = np.full(3 * fmt.nbytes, byte, np.uint8)
    if isinstance(fmt, BlockFormat):  # all-ones scales are NaN, which would hide the codes
        set_scales(fmt, raw, 0.5)
    assert_same_bits(dequantize(fmt, raw), reference(fmt, raw))


def set_scales(fmt: BlockFormat, raw: Bytes, scale: float) -> None:
    at = 0
    for field in fmt.layout:
        if field.dtype == "f16":
            raw.reshape(-1, fmt.nbytes)[:, at : at + 2] = np.array([scale], "<f2").view(np.uint8)
        at += field.nbytes


@EVERY
def test_facts_agree_with_gguf(fmt: Format) -> None:
    kind = gguf.GGMLQuantizationType[fmt.name.upper()]
    assert (kind.value, *gguf.GGML_QUANT_SIZES[kind]) == (fmt.ggml_type, fmt.weights, fmt.nbytes)
    assert BY_GGML_TYPE[fmt.ggml_type] is fmt


@EVERY_BLOCK
def test_parts_keep_the_declared_ranges(fmt: BlockFormat) -> None:
    """The formula of the format, evaluated in f64 from its parts and its declared facts alone, gives the weights."""
    raw = random_blocks(fmt, 64)
    set_scales(fmt, raw, 0.25)
    p = split(fmt, raw)
    assert p.codes.shape == (64, fmt.weights) and p.codes.dtype == np.uint8 and p.codes.max() < 1 << fmt.codes.bits
    scale = np.ones((64, fmt.groups)) * p.d[:, None].astype(float)
    if fmt.scale is not None:
        scale *= checked(fmt, p.scale, fmt.scale) - fmt.scale.offset
    weights = levels(fmt, p.codes) * np.repeat(scale, fmt.group, axis=1)
    if fmt.min is not None:
        assert p.dmin is not None
        minimum = np.ones((64, fmt.groups)) * p.dmin[:, None].astype(float)
        if fmt.min.codes is not None:
            minimum *= checked(fmt, p.min, fmt.min.codes)
        weights += fmt.min.sign * np.repeat(minimum, fmt.group, axis=1)
    np.testing.assert_array_equal(weights.reshape(-1), dequantize(fmt, raw))


def checked(fmt: BlockFormat, codes: Bytes | None, kind: IntCodes) -> NDArray[np.float64]:
    """Codes of 64 blocks as numbers, after a look at their shape, type and range."""
    assert codes is not None and codes.shape == (64, fmt.groups)
    assert codes.dtype == np.uint8 and codes.max() < 1 << kind.bits
    return codes.astype(float)


@EVERY_BLOCK
def test_parts_a_format_lacks_are_none(fmt: BlockFormat) -> None:
    p = split(fmt, random_blocks(fmt, 1))
    assert (p.scale is None) == (fmt.scale is None)
    assert (p.dmin is None) == (fmt.min is None)
    assert (p.min is None) == (fmt.min is None or fmt.min.codes is None)


@EVERY
def test_refuses_a_wrong_block_size(fmt: Format) -> None:
    with pytest.raises(ValueError, match=fmt.name):
        replace(fmt, nbytes=fmt.nbytes + 1)


@EVERY
def test_survives_a_trip_to_another_process(fmt: Format) -> None:
    copy = pickle.loads(pickle.dumps(fmt))
    assert copy == fmt and hash(copy) == hash(fmt) and "0x" not in repr(fmt)
    raw = random_blocks(fmt, 2)
    assert_same_bits(dequantize(copy, raw), dequantize(fmt, raw))


def test_all_formats_of_the_first_release_are_found() -> None:
    assert set(FORMATS) >= set("f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs".split())
