"""How weights lie in an artifact: tiles of 16 rows, the same for every x86 level, as many bits per weight as the source.

A weight W[N, K] is stored [row tile][block of columns]. A lane of a vector is a row, so that a kernel unpacks and multiplies
without moving data between lanes. Inside one (row tile, block), 16 * format.nbytes bytes:

    d         16 x f16 (or bf16, f32, e8m0), by row, where blocks have one
    dmin      16 x f16, where the format has mins with a factor of their own
    scale     one code per group and row, in planes of 16-byte vectors, where it has scale codes
    min       the same for the codes of mins
    codes     for each unit of 32 columns, 8 dot vectors of 64 bytes, in planes; or the dot vectors of the block as trits
              of a grid: one code per vector of columns and row, in planes of 16-byte vectors, then the same for the signs

Dot vector j of a unit holds at byte row * 4 + i the code of column 4j + i: four consecutive columns of each row, the operand of
a four-way byte dot product. *Planes* store n byte vectors of `bits`-wide codes densely: codes are split into runs of 8, 4, 2 or 1
bits, low bits first, and a run of width w packs 8/w neighbouring vectors into one, the first in its low bits. Trits pack five
neighbouring vectors into one.

Dense formats are stored [row tile][column][16 rows]. Rows are padded to 16 with zero bytes before packing; K has no padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmc.ir.quant import FACTOR_BYTES, FACTOR_TYPES, BlockFormat, Bytes, DenseFormat, Format, Parts, Trits, split, trit

ROWS = 16  # per tile
UNIT = 32  # columns
DOTS = 8  # dot vectors of a unit
DOT_BYTES = 4 * ROWS

TRITS = 5  # in a byte

_RUNS = {
    1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,), 9: (8, 1), 10: (8, 2), 11: (8, 2, 1),
}  # fmt: skip
_CHUNK_WEIGHTS = 1 << 19  # packed at a time: stays in the second-level cache


@dataclass(frozen=True)
class Plane:
    """Bits at..at+width of the codes of every vector, 8/width vectors to a stored one, from byte `offset`."""

    width: int
    at: int
    offset: int

    @property
    def per(self) -> int:
        """Vectors that share a stored vector."""
        return 8 // self.width


@dataclass(frozen=True)
class Planes:
    """`count` vectors of `vector` bytes, a code of `bits` bits in each byte, stored in planes."""

    bits: int
    count: int
    vector: int

    @property
    def nbytes(self) -> int:
        return self.count * self.vector * self.bits // 8

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        found: list[Plane] = []
        at = 0
        for width in _RUNS[self.bits]:
            found.append(Plane(width, at, self.count * self.vector * at // 8))
            at += width
        return tuple(found)


@dataclass(frozen=True)
class TileLayout:
    """Byte offsets inside one (row tile, block) of a block format."""

    format: BlockFormat

    def __post_init__(self) -> None:
        assert self.signs_at + (self.signs.nbytes if self.signs else 0) == self.nbytes, self.format.name

    @property
    def nbytes(self) -> int:
        return ROWS * self.format.nbytes

    @property
    def units(self) -> int:
        return self.format.weights // UNIT

    @property
    def dmin_at(self) -> int:
        return FACTOR_BYTES[self.format.factor] * ROWS

    @cached_property
    def scale(self) -> Planes | None:
        kind = self.format.scale
        return Planes(kind.bits, self.format.groups, ROWS) if kind else None

    @cached_property
    def min(self) -> Planes | None:
        kind = self.format.min.codes if self.format.min else None
        return Planes(kind.bits, self.format.groups, ROWS) if kind else None

    @cached_property
    def codes(self) -> Planes:
        """Of one unit; the indices of a grid are those of the whole block."""
        if self.format.grid is not None:
            return Planes(self.format.codes.bits, self.format.weights // self.format.vector, ROWS)
        return Planes(self.format.codes.bits, DOTS, DOT_BYTES)

    @cached_property
    def signs(self) -> Planes | None:
        kind = self.format.signs
        return Planes(kind.bits, kind.count(self.format.weights), ROWS) if kind else None

    @property
    def scale_at(self) -> int:
        return self.dmin_at + (self.format.min.factor_bytes * ROWS if self.format.min else 0)

    @property
    def min_at(self) -> int:
        return self.scale_at + (self.scale.nbytes if self.scale else 0)

    @property
    def codes_at(self) -> int:
        return self.min_at + (self.min.nbytes if self.min else 0)

    @property
    def signs_at(self) -> int:
        if isinstance(self.format.codes, Trits):
            return self.codes_at + -(-self.units * DOTS // TRITS) * DOT_BYTES
        return self.codes_at + self.codes.nbytes * (1 if self.format.grid else self.units)


def row_tiles(n: int) -> int:
    return -(-n // ROWS)


def packed_bytes(fmt: Format, n: int, k: int) -> int:
    """Size of W[n, k] in tiles. Raises ValueError if k is not a multiple of the format's block."""
    return row_tiles(n) * ROWS * fmt.row_bytes(k)


def pack(fmt: Format, raw: Bytes, n: int, k: int) -> Iterator[Bytes]:
    """The bytes of W[n, k] in tiles, in order, in chunks of a few hundred kilobytes.

    raw u8, flat, n * row_bytes(k) long, row after row; may be a mapped file. Raises ValueError for another length.
    """
    width = fmt.row_bytes(k)
    if raw.size != n * width:
        raise ValueError(f"{fmt.name}[{n},{k}] is {n * width} bytes, not {raw.size}")
    step = ROWS * max(1, _CHUNK_WEIGHTS // (ROWS * k))
    for first in range(0, n, step):
        rows = np.asarray(raw[first * width : min(first + step, n) * width]).reshape(-1, width)
        short = -len(rows) % ROWS
        if short:
            rows = np.concatenate([rows, np.zeros((short, width), np.uint8)])
        yield pack_dense(fmt, rows) if isinstance(fmt, DenseFormat) else _pack_blocks(TileLayout(fmt), rows)


def pack_parts(fmt: BlockFormat, parts: Parts, n: int, k: int) -> Bytes:
    """The tiles of W[n, k] from its parts, row after row: u8, flat. Rows that fill the last tile have a factor of zero."""
    short = -n % ROWS * (k // fmt.weights)
    if short:
        parts = Parts(*(_padded(getattr(parts, f.name), short) for f in fields(parts)))
    return _pack(TileLayout(fmt), parts, row_tiles(n), k // fmt.weights)


def _padded(part: NDArray[Any] | None, blocks: int) -> Any:
    return None if part is None else np.concatenate([part, np.zeros((blocks, *part.shape[1:]), part.dtype)])


def pack_dense(fmt: DenseFormat, rows: Bytes) -> Bytes:
    """rows u8 [16 t, k * nbytes] -> u8, flat."""
    elements = np.ascontiguousarray(rows).view(f"u{fmt.nbytes}").reshape(len(rows) // ROWS, ROWS, -1)
    return np.ascontiguousarray(elements.transpose(0, 2, 1)).view(np.uint8).reshape(-1)


def _pack_blocks(layout: TileLayout, rows: Bytes) -> Bytes:
    """rows u8 [16 t, blocks * nbytes] -> u8, flat."""
    parts = split(layout.format, np.ascontiguousarray(rows))
    return _pack(layout, parts, len(rows) // ROWS, rows.shape[1] // layout.format.nbytes)


def _pack(layout: TileLayout, parts: Parts, tiles: int, blocks: int) -> Bytes:
    """parts of `blocks` blocks of each row -> u8, flat."""
    fmt = layout.format
    out = np.empty((tiles, blocks, layout.nbytes), np.uint8)
    if parts.d is not None:
        _by_row(out, 0, parts.d)
    if parts.dmin is not None:
        _by_row(out, layout.dmin_at, parts.dmin)
    grid = parts.codes if fmt.grid else None
    for planes, at, codes in (
        (layout.scale, layout.scale_at, parts.scale), (layout.min, layout.min_at, parts.min),
        (layout.codes, layout.codes_at, grid), (layout.signs, layout.signs_at, parts.signs),
    ):  # fmt: skip
        if planes is not None and codes is not None:
            vectors = codes.reshape(tiles, ROWS, blocks, planes.count)
            _write_planes(out[:, :, at : at + planes.nbytes], planes, vectors)
    if grid is None:
        out[:, :, layout.codes_at :] = _pack_codes(layout, parts.codes, tiles, blocks)
    return out.reshape(-1)


def _pack_codes(layout: TileLayout, codes: NDArray[Any], tiles: int, blocks: int) -> Bytes:
    """codes u8, by row -> u8 [t, blocks, what they take]."""
    if isinstance(layout.format.codes, Trits):
        return _pack_trits(codes.reshape(tiles, ROWS, blocks, -1, 4))
    words = codes.view(np.uint32).reshape(tiles, ROWS, blocks * layout.units, DOTS)
    units = np.empty((tiles, blocks * layout.units, layout.codes.nbytes), np.uint8)
    _write_planes(units, layout.codes, words)
    return units.reshape(tiles, blocks, -1)


def _pack_trits(codes: Bytes) -> Bytes:
    """codes u8 [t, 16 rows, m, dot vectors, 4] -> u8 [t, m, bytes]."""
    tiles, _, m, dots, _ = codes.shape
    vectors = np.zeros((tiles, m, -(-dots // TRITS), TRITS, ROWS, 4), np.uint8)
    vectors.reshape(tiles, m, -1, ROWS, 4)[:, :, :dots] = codes.transpose(0, 2, 3, 1, 4)
    number = np.zeros_like(vectors[:, :, :, 0])
    for digit in range(TRITS):
        number = number * np.uint8(3) + vectors[:, :, :, digit]
    return _FRACTION[number].reshape(tiles, m, -1)


_FRACTION = np.array([-(-(n << 8) // 3**TRITS) for n in range(3**TRITS)], np.uint8)  # of 256, rounded up


def _by_row(out: Bytes, at: int, values: NDArray[Any]) -> None:
    """values of FACTOR_TYPES [16 t * blocks], by row, to bytes at.. of out [t, blocks, nbytes]."""
    tiles, blocks, _ = out.shape
    stored = out[:, :, at : at + values.itemsize * ROWS].view(values.dtype)
    stored[:] = values.reshape(tiles, ROWS, blocks).transpose(0, 2, 1)


def _write_planes(out: Bytes, planes: Planes, vectors: NDArray[Any]) -> None:
    """vectors [t, 16 rows, m, count], u8 or u32 of a code per byte, or u16 codes -> out u8 [t, m, planes.nbytes]."""
    tiles, _, m, count = vectors.shape
    for plane in planes.planes:
        stored = count // plane.per
        run = _run(vectors, plane, planes.bits)
        word = run.dtype.type
        packed = run[..., 0 :: plane.per]
        for f in range(1, plane.per):
            packed = packed | (run[..., f :: plane.per] << word(f * plane.width))
        size = stored * planes.vector
        out[:, :, plane.offset : plane.offset + size].view(word).reshape(tiles, m, stored, ROWS)[:] = packed.transpose(0, 2, 3, 1)


def _run(vectors: NDArray[Any], plane: Plane, bits: int) -> NDArray[Any]:
    """The bits of a plane, in the lowest of each byte: u8 or u32."""
    word, mask = vectors.dtype.type, (1 << plane.width) - 1
    if word is np.uint16:
        shifted: Bytes = (vectors >> word(plane.at)).astype(np.uint8)
        return shifted & np.uint8(mask)
    if plane.width == bits:
        return vectors
    run: NDArray[Any] = (vectors >> word(plane.at)) & _every_byte(word, mask)
    return run


def _every_byte(word: type[Any], value: int) -> Any:
    return word(int.from_bytes(bytes([value]) * np.dtype(word).itemsize, "little"))


def unpack(fmt: Format, packed: Bytes, n: int, k: int) -> Parts | NDArray[Any]:
    """What `pack` was given: Parts of the blocks of W[n, k] in the order of rows, or for a dense format its elements as
    unsigned integers [n, k]. packed u8, flat."""
    tiles = row_tiles(n)
    if isinstance(fmt, DenseFormat):
        elements = packed.view(f"u{fmt.nbytes}").reshape(tiles, k, ROWS).transpose(0, 2, 1)
        return elements.reshape(tiles * ROWS, k)[:n]
    layout = TileLayout(fmt)
    blocks = packed.reshape(tiles, -1, layout.nbytes)
    return Parts(
        codes=_codes(blocks, layout, n),
        d=None if fmt.factor == "one" else _numbers(blocks, FACTOR_TYPES[fmt.factor], 0, n),
        scale=_codes_by_row(blocks, layout.scale, layout.scale_at, n),
        dmin=_numbers(blocks, "<f2", layout.dmin_at, n) if fmt.min and not fmt.min.zero_point else None,
        min=_codes_by_row(blocks, layout.min, layout.min_at, n),
        signs=_codes_by_row(blocks, layout.signs, layout.signs_at, n),
    )


def _codes(blocks: Bytes, layout: TileLayout, n: int) -> NDArray[Any]:
    """The codes of weights, [blocks of rows, codes per block]."""
    tiles, fmt = len(blocks), layout.format
    if fmt.grid is not None:
        indices = _codes_by_row(blocks, layout.codes, layout.codes_at, n)
        assert indices is not None
        found: NDArray[np.uint16] = indices.astype(np.uint16)
        return found
    stored = np.ascontiguousarray(blocks[:, :, layout.codes_at :])
    if isinstance(fmt.codes, Trits):
        vectors = stored.reshape(tiles, blocks.shape[1], -1, 1, DOT_BYTES)
        digits = np.concatenate([trit(vectors, digit) for digit in range(TRITS)], axis=3)
        codes = digits.reshape(tiles, blocks.shape[1], -1, DOT_BYTES)[:, :, : fmt.weights // 4]
    else:
        codes = _read_planes(stored.reshape(tiles, -1, layout.codes.nbytes), layout.codes)
    return _rows(codes.reshape(tiles, -1, DOTS, ROWS, 4).transpose(0, 3, 1, 2, 4), n, fmt.weights)


def _numbers(blocks: Bytes, dtype: str, at: int, n: int) -> NDArray[Any]:
    """One number of each block of rows, from byte `at`."""
    values = np.ascontiguousarray(blocks[:, :, at : at + ROWS * np.dtype(dtype).itemsize]).view(dtype)
    return _rows(values.transpose(0, 2, 1), n, 1).reshape(-1)


def _codes_by_row(blocks: Bytes, planes: Planes | None, at: int, n: int) -> Any:
    if planes is None:
        return None
    codes = _read_planes(np.ascontiguousarray(blocks[:, :, at : at + planes.nbytes]), planes)
    return _rows(codes.transpose(0, 3, 1, 2), n, planes.count)


def _rows(by_tile: NDArray[Any], n: int, width: int) -> NDArray[Any]:
    """[t, 16, ...] -> the first n rows as [blocks, width]."""
    return by_tile.reshape(by_tile.shape[0] * ROWS, -1)[:n].reshape(-1, width)


def _read_planes(stored: Bytes, planes: Planes) -> NDArray[Any]:
    """stored u8 [t, m, planes.nbytes] -> codes u8, or u16 where they are wider, [t, m, count, vector]."""
    tiles, m, _ = stored.shape
    word: type[Any] = np.uint8 if planes.bits <= 8 else np.uint16
    codes = np.zeros((tiles, m, planes.count, planes.vector), word)
    for plane in planes.planes:
        size = planes.count // plane.per * planes.vector
        run = stored[:, :, plane.offset : plane.offset + size].reshape(tiles, m, -1, planes.vector)
        for f in range(plane.per):
            field = (run >> np.uint8(f * plane.width)) & np.uint8((1 << plane.width) - 1)
            codes[:, :, f :: plane.per] |= field.astype(word) << word(plane.at)
    return codes
