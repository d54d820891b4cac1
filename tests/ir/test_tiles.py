"""Packing into tiles: the bytes against the documented layout read one by one, and back again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import float8_format, group_format, nvfp4_format
from llmc.ir.quant import BlockFormat, Bytes, DenseFormat, Format, Parts, split
from llmc.ir.tiles import ROWS, TileLayout, pack, packed_bytes, row_tiles, unpack

GROUPS = [group_format(4, 64, True), group_format(7, 32, True, "bf16"), float8_format(128, "f32"), nvfp4_format(64)]
BLOCKS = [*(f for f in FORMATS.values() if isinstance(f, BlockFormat)), *GROUPS]
DENSE = [f for f in FORMATS.values() if isinstance(f, DenseFormat)]


def stored(fmt: Format, n: int, k: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, n * fmt.row_bytes(k), dtype=np.uint8)


def packed(fmt: Format, raw: Bytes, n: int, k: int) -> Bytes:
    return np.concatenate([*pack(fmt, raw, n, k)])


def assert_same_parts(actual: Parts, expected: Parts) -> None:
    for name in ("codes", "d", "scale", "dmin", "min"):
        a, b = getattr(actual, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if b is not None:
            assert a.shape == b.shape and a.tobytes() == b.tobytes(), name


@pytest.mark.parametrize("fmt", BLOCKS, ids=lambda f: f.name)
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 50), blocks=st.integers(1, 3), seed=st.integers(0, 99))
def test_unpacking_a_packed_weight_gives_its_parts(fmt: BlockFormat, n: int, blocks: int, seed: int) -> None:
    k = blocks * fmt.weights
    raw = stored(fmt, n, k, seed)
    parts = unpack(fmt, packed(fmt, raw, n, k), n, k)
    assert isinstance(parts, Parts)
    assert_same_parts(parts, split(fmt, raw))


@pytest.mark.parametrize("fmt", DENSE, ids=lambda f: f.name)
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 50), k=st.integers(1, 70))
def test_unpacking_a_dense_weight_gives_its_elements(fmt: DenseFormat, n: int, k: int) -> None:
    raw = stored(fmt, n, k)
    elements = unpack(fmt, packed(fmt, raw, n, k), n, k)
    assert isinstance(elements, np.ndarray)
    assert elements.tobytes() == raw.tobytes()


@pytest.mark.parametrize("fmt", [*FORMATS.values()], ids=lambda f: f.name)
def test_a_packed_weight_is_as_large_as_the_source_in_whole_tiles(fmt: Format) -> None:
    n, k = 33, 2 * max(fmt.weights, 32)
    data = packed(fmt, stored(fmt, n, k), n, k)
    assert data.size == packed_bytes(fmt, n, k) == row_tiles(n) * 16 * fmt.row_bytes(k)


def field(data: Bytes, vector: int, byte: int, width: int, size: int) -> int:
    """The `width` bits of a byte of a vector of `size` bytes in one plane, from the layout's definition."""
    per = 8 // width
    return int(data[vector // per * size + byte]) >> (vector % per * width) & ((1 << width) - 1)


def code(data: Bytes, vector: int, byte: int, runs: tuple[int, ...], count: int, size: int) -> int:
    """A code whose runs of bits lie in consecutive planes of `count` vectors."""
    value = at = start = 0
    for width in runs:
        value |= field(data[start:], vector, byte, width, size) << at
        at += width
        start += count * size * width // 8
    return value


@pytest.mark.parametrize(
    ("name", "runs", "scale_runs"),
    [("q4_0", (4,), None), ("q5_1", (4, 1), None), ("q3_k", (2, 1), (4, 2)), ("q4_k", (4,), (4, 2)), ("q6_k", (4, 2), (8,))],
)
def test_bytes_lie_where_the_layout_says(name: str, runs: tuple[int, ...], scale_runs: tuple[int, ...] | None) -> None:
    fmt = FORMATS[name]
    assert isinstance(fmt, BlockFormat)
    n, k = 32, 2 * fmt.weights
    raw = stored(fmt, n, k)
    parts = split(fmt, raw)
    tiles = packed(fmt, raw, n, k).reshape(2, 2, -1)
    layout = TileLayout(fmt)
    for row, block, column in [(0, 0, 0), (17, 1, fmt.weights - 1), (31, 0, 13), (5, 1, 22), (16, 1, fmt.weights // 2 + 3)]:
        data, r, where = tiles[row // ROWS, block], row % ROWS, row * 2 + block
        assert data[2 * r : 2 * r + 2].tobytes() == parts.d[where].tobytes()
        if fmt.min:
            assert parts.dmin is not None
            assert data[32 + 2 * r : 34 + 2 * r].tobytes() == parts.dmin[where].tobytes()
        if scale_runs:
            assert parts.scale is not None
            found = code(data[layout.scale_at :], column // fmt.group, r, scale_runs, fmt.groups, 16)
            assert found == parts.scale[where, column // fmt.group]
        unit = data[layout.codes_at + column // 32 * layout.codes.nbytes :]
        assert code(unit, column % 32 // 4, r * 4 + column % 4, runs, 8, 64) == parts.codes[where, column]


def test_trits_lie_five_dot_vectors_to_a_stored_one() -> None:
    fmt = FORMATS["tq1_0"]
    assert isinstance(fmt, BlockFormat)
    raw = stored(fmt, 16, 256)
    data, codes = packed(fmt, raw, 16, 256)[32:].reshape(13, 64), split(fmt, raw).codes
    for row, column in [(0, 0), (15, 255), (7, 100), (3, 239), (9, 19)]:
        dot, byte = column // 4, row * 4 + column % 4
        number = int(data[dot // 5, byte]) * 243 // 256
        assert number // 3 ** (4 - dot % 5) % 3 == codes[row, column]


@pytest.mark.parametrize(
    ("name", "runs", "sign_runs"), [("iq2_s", (8, 2), (8,)), ("iq3_s", (8, 1), (8,)), ("iq1_m", (8, 2, 1), (1,))]
)
def test_codes_and_signs_of_a_grid_lie_where_the_layout_says(
    name: str, runs: tuple[int, ...], sign_runs: tuple[int, ...]
) -> None:
    fmt = FORMATS[name]
    assert isinstance(fmt, BlockFormat)
    raw = stored(fmt, 16, 256)
    data, parts = packed(fmt, raw, 16, 256), split(fmt, raw)
    count = fmt.weights // fmt.vector
    codes_at = 32 + 16 * fmt.groups * (4 if name != "iq1_m" else 3) // 8
    signs_at = codes_at + 16 * count * fmt.codes.bits // 8
    assert parts.signs is not None
    for row, index in [(0, 0), (15, 31), (4, 17)]:
        assert code(data[codes_at:], index, row, runs, count, 16) == parts.codes[row, index]
        assert code(data[signs_at:], index, row, sign_runs, 32, 16) == parts.signs[row, index]


def test_rows_beyond_the_weight_are_those_of_zero_bytes() -> None:
    fmt = FORMATS["q4_k"]
    raw = stored(fmt, 17, 256)
    padded = np.concatenate([raw, np.zeros(15 * fmt.row_bytes(256), np.uint8)])
    assert packed(fmt, raw, 17, 256).tobytes() == packed(fmt, padded, 32, 256).tobytes()


def test_packing_streams_in_bounded_chunks_of_whole_tiles() -> None:
    fmt = FORMATS["q8_0"]
    n, k = 1024, 4096
    sizes = [chunk.size for chunk in pack(fmt, stored(fmt, n, k), n, k)]
    assert len(sizes) > 4 and max(sizes) <= 1 << 20
    assert all(size % (16 * fmt.row_bytes(k)) == 0 for size in sizes)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_weight_of_the_wrong_size_is_refused(change: int) -> None:
    fmt = FORMATS["q4_0"]
    raw = np.zeros(16 * fmt.row_bytes(64) + change, np.uint8)
    with pytest.raises(ValueError, match="not"):
        next(pack(fmt, raw, 16, 64))
