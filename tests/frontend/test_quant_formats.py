"""Every format against the `gguf` package, an independent decoder."""

import pickle
from dataclasses import replace

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.frontend.quant import BY_GGML_TYPE, FORMATS
from llmc.ir.quant import BlockFormat, Bytes, Format, IntCodes, Parts, Ue4m3, dequantize, levels, split

F32 = NDArray[np.float32]
EVERY = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
BLOCKS = [f for f in FORMATS.values() if isinstance(f, BlockFormat)]
EVERY_BLOCK = pytest.mark.parametrize("fmt", BLOCKS, ids=lambda f: f.name)


def random_blocks(fmt: Format, blocks: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, blocks * fmt.nbytes, np.uint8)


FACTS_GGUF_LACKS = {"q2_0": (42, 64, 18)}  # ggml-common.h


def reference(fmt: Format, raw: Bytes) -> F32:
    if fmt.name in ("q1_0", "q2_0"):  # which the package does not decode
        return reference_of_plain_codes(fmt, raw, bits=int(fmt.name[1]))
    with np.errstate(all="ignore"):  # random bytes hold infinities and NaN
        return np.ascontiguousarray(gguf.dequantize(raw, gguf.GGMLQuantizationType(fmt.ggml_type)), np.float32).reshape(-1)


def reference_of_plain_codes(fmt: Format, raw: Bytes, bits: int) -> F32:
    """f16 d, then codes from the lowest bit of the first byte: d or -d by a single bit, or d times the code less one."""
    values = {1: [-1.0, 1.0], 2: [-1.0, 0.0, 1.0, 2.0]}[bits]
    weights: list[float] = []
    for block in raw.reshape(-1, fmt.nbytes):
        d, number = float(block[:2].view("<f2")[0]), int.from_bytes(block[2:].tobytes(), "little")
        weights += [d * values[number >> (i * bits) & (1 << bits) - 1] for i in range(fmt.weights)]
    return np.array(weights, np.float32)


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
        elif fmt.factor == "e8m0" and at == 0:
            raw.reshape(-1, fmt.nbytes)[:, 0] = 128 + np.log2(scale)
        at += field.nbytes


@EVERY
def test_facts_agree_with_gguf(fmt: Format) -> None:
    facts = FACTS_GGUF_LACKS.get(fmt.name)
    if facts is None:
        kind = gguf.GGMLQuantizationType[fmt.name.upper()]
        facts = (kind.value, *gguf.GGML_QUANT_SIZES[kind])
    assert facts == (fmt.ggml_type, fmt.weights, fmt.nbytes)
    assert BY_GGML_TYPE[fmt.ggml_type] is fmt


@EVERY_BLOCK
def test_parts_keep_the_declared_ranges(fmt: BlockFormat) -> None:
    """The formula of the format, evaluated in f64 from its parts and its declared facts alone, gives the weights."""
    raw = random_blocks(fmt, 64)
    set_scales(fmt, raw, 0.25)
    p = split(fmt, raw)
    assert p.codes.shape == (64, fmt.weights // fmt.vector) and p.codes.max() < 1 << fmt.codes.bits
    assert p.codes.dtype == (np.uint16 if fmt.grid else np.uint8)
    low, high = fmt.span
    assert low <= levels(fmt, p).min() and levels(fmt, p).max() <= high
    scale = np.full((64, fmt.groups), fmt.unit) * factor(fmt, p)
    if fmt.scale is not None:
        scale *= checked(fmt, p.scale, fmt.scale)
    weights = levels(fmt, p) * np.repeat(scale, fmt.group, axis=1)
    if fmt.min is not None:
        assert p.dmin is not None
        minimum = np.ones((64, fmt.groups)) * p.dmin[:, None].astype(float)
        if fmt.min.codes is not None:
            minimum *= checked(fmt, p.min, fmt.min.codes)
        weights += fmt.min.sign * np.repeat(minimum, fmt.group, axis=1)
    np.testing.assert_array_equal(weights.reshape(-1), dequantize(fmt, raw))


def factor(fmt: BlockFormat, p: Parts) -> NDArray[np.float64]:
    """d as [64, 1]."""
    if p.d is None:
        return np.ones((64, 1))
    return np.exp2(p.d[:, None] - 128.0) if fmt.factor == "e8m0" else p.d[:, None].astype(float)


def checked(fmt: BlockFormat, codes: Bytes | None, kind: IntCodes | Ue4m3) -> NDArray[np.float64]:
    """What codes of 64 blocks stand for, after a look at their shape, type and range."""
    assert codes is not None and codes.shape == (64, fmt.groups)
    assert codes.dtype == np.uint8 and codes.max() < 1 << kind.bits
    return kind.values(codes).astype(float)


@EVERY_BLOCK
def test_parts_a_format_lacks_are_none(fmt: BlockFormat) -> None:
    p = split(fmt, random_blocks(fmt, 1))
    assert (p.scale is None) == (fmt.scale is None)
    assert (p.dmin is None) == (fmt.min is None)
    assert (p.min is None) == (fmt.min is None or fmt.min.codes is None)
    assert (p.signs is None) == (fmt.signs is None)
    assert (p.d is None) == (fmt.factor == "one")


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


def test_every_live_type_of_ggml_is_found() -> None:
    names = "f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4 nvfp4 tq1_0 tq2_0 q1_0 q2_0"
    assert set(FORMATS) == set(f"{names} iq2_xxs iq2_xs iq2_s iq3_xxs iq3_s iq1_s iq1_m".split())


@pytest.mark.parametrize("fmt", [f for f in BLOCKS if f.grid], ids=lambda f: f.name)
def test_grids_are_those_of_gguf(fmt: BlockFormat) -> None:
    known = getattr(gguf.quants, fmt.name.upper())
    known.init_grid()
    assert fmt.grid is not None
    table = fmt.grid.table if fmt.name[:3] != "iq1" else (fmt.grid.table - 1) / 8
    np.testing.assert_array_equal(table, known.grid.reshape(known.grid_shape))
