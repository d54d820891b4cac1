"""Weight formats: what a stored weight means. A file of frontend/quant/ declares one; kernels, packing and tests read its facts.

A block format keeps a fixed number of weights in a fixed number of bytes, and every weight is

    d * (scale - scale.offset) * (code - codes.offset)  +  sign * dmin * min

with `codebook[code]` instead of `code - codes.offset` where there is a codebook, or a grid whose vectors give several weights at
once. `d` and `dmin` are f16, one per block; scale and min are small integers, one per group of weights, or absent. Some formats
differ in a fact: how `d` is stored (`factor`), what a code steps by, a `unit` that every weight is multiplied with, codes that
are floats. Parts are the stored numbers, unpacked, before any arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from llmc.ir.grid import Grid, Shift, Signs

Bytes = NDArray[np.uint8]

_STORED = {"f16": "<f2", "bf16": "<u2", "f32": "<f4", "u8": "u1", "i8": "i1"}  # fields of whole bytes
_PACKED = {"u4": 4, "u2": 2, "u1": 1}  # fields of several values per byte
FACTOR_TYPES = {"f16": "<f2", "bf16": "<u2", "f32": "<f4", "e8m0": "u1"}
FACTOR_BYTES = {"f16": 2, "bf16": 2, "f32": 4, "e8m0": 1, "one": 0}
"""How d is stored; e8m0 is a power of two, 2^(byte - 128)."""


@dataclass(frozen=True)
class IntCodes:
    """Unsigned integers of `bits` bits; a stored code stands for the value step * code - offset."""

    bits: int
    offset: int = 0
    step: int = 1

    def values(self, codes: NDArray[Any]) -> NDArray[np.int16]:
        """codes of any shape -> i16, same shape."""
        values: NDArray[np.int16] = codes.astype(np.int16) * np.int16(self.step) - np.int16(self.offset)
        return values


@dataclass(frozen=True)
class Trits(IntCodes):
    """Codes 0, 1 and 2, five in a byte: their base-3 number, first digit highest, as a fraction of 3^5 of 256, rounded up.
    Multiplying the byte by 3 carries the digits out at the top, one by one."""

    bits: int = 2


@dataclass(frozen=True)
class Ue4m3:
    """Floats of 8 bits: a bit that is ignored, 4 of exponent (bias 7), 3 of mantissa; 127 stands for zero."""

    bits: ClassVar[int] = 8

    def values(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """codes of any shape -> f32, same shape."""
        exponent, mantissa = codes.astype(np.int32) >> 3 & 15, (codes & 7).astype(np.float32)
        normal = np.ldexp(np.float32(1) + mantissa / np.float32(8), exponent - 7)
        return np.where(codes == 127, np.float32(0), np.where(exponent == 0, np.ldexp(mantissa, -9), normal))


@dataclass(frozen=True)
class E4m3(IntCodes):
    """Codes that are floats of 8 bits: a sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinities.  arXiv:2209.05433."""

    bits: int = 8

    def values(self, codes: NDArray[Any]) -> NDArray[Any]:
        """codes of any shape -> f32, same shape."""
        return _decode_e4m3(codes)


@dataclass(frozen=True)
class Min:
    """The term added to every weight of a group: sign * dmin * code, or sign * dmin where `codes` is None.

    zero_point: dmin is d itself and is not stored; the code is a zero point then.
    """

    sign: int
    codes: IntCodes | None
    zero_point: bool = False

    def __post_init__(self) -> None:
        if self.sign not in (-1, 1):
            raise ValueError(f"sign of a min is -1 or 1, not {self.sign}")

    @property
    def factor_bytes(self) -> int:
        """Of dmin, stored."""
        return 0 if self.zero_point else 2


@dataclass(frozen=True)
class Field:
    """`count` values of `dtype` in a block. Values smaller than a byte lie in planes: with u4 and plane=16, sixteen bytes hold
    sixteen values in their low nibbles, then the next sixteen in their high nibbles; plane=1 is plain little-endian packing."""

    name: str
    dtype: str  # "f16", "bf16", "f32", "u8", "i8", "u4", "u2", "u1"
    count: int = 1
    plane: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in _STORED and self.dtype not in _PACKED:
            raise ValueError(f"field {self.name}: unknown type {self.dtype}")
        if self.dtype in _PACKED and self.count * self.bits % (8 * self.plane):
            raise ValueError(f"field {self.name}: {self.count} x {self.dtype} do not fill planes of {self.plane} bytes")

    @property
    def bits(self) -> int:
        return int(self.dtype.lstrip("bfui"))

    @property
    def nbytes(self) -> int:
        return self.bits * self.count // 8


@dataclass(frozen=True)
class Parts:
    """The numbers of some blocks, unpacked; None where the format has no such number.

    codes u8 [blocks, weights] in the order of K, for a grid u16 [blocks, weights / width];  d [blocks] of FACTOR_TYPES;
    scale u8 [blocks, groups], raw codes;  dmin f16 [blocks];  min u8 [blocks, groups], raw codes;  signs u8 [blocks, count].
    """

    codes: Bytes | NDArray[np.uint16]
    d: NDArray[Any] | None
    scale: Bytes | None = None
    dmin: NDArray[np.float16] | None = None
    min: Bytes | None = None
    signs: Bytes | None = None


@dataclass(frozen=True)
class BlockFormat:
    """`weights` consecutive weights of a row in `nbytes` bytes; `group` of them share a scale.

    `parts` turns the unpacked fields of `layout` (arrays [blocks, count], or [blocks] for count 1) into Parts. It is a named
    function of its module, so that a format can be sent to another process; it has no say in equality or in `repr`.
    """

    name: str
    ggml_type: int
    weights: int
    nbytes: int
    layout: tuple[Field, ...]
    codes: IntCodes
    group: int
    scale: IntCodes | Ue4m3 | None
    min: Min | None
    codebook: tuple[int, ...] | None
    parts: Callable[[SimpleNamespace], Parts] = field(repr=False, compare=False)
    factor: str = "f16"
    unit: float = 1.0  # a power of two, so that products with it are exact
    grid: Grid | None = None  # `codes` are its indices then
    signs: Signs | Shift | None = None

    def __post_init__(self) -> None:
        total = sum(f.nbytes for f in self.layout)
        if total != self.nbytes:
            raise ValueError(f"{self.name}: layout is {total} bytes, format says {self.nbytes}")
        if self.weights % self.group:
            raise ValueError(f"{self.name}: {self.weights} weights are no whole groups of {self.group}")
        if self.codebook is not None and len(self.codebook) != 1 << self.codes.bits:
            raise ValueError(f"{self.name}: {len(self.codebook)} codebook values for {self.codes.bits}-bit codes")
        if self.factor not in FACTOR_BYTES:
            raise ValueError(f"{self.name}: a block's factor is stored as one of {[*FACTOR_BYTES]}, not {self.factor}")
        if self.grid is not None and self.grid.bits != self.codes.bits:
            raise ValueError(f"{self.name}: a grid of {self.grid.bits} bits for {self.codes.bits}-bit codes")
        if self.signs is not None and self.grid is None:
            raise ValueError(f"{self.name}: signs belong to a grid")
        if self.min is not None and self.min.zero_point and self.scale is not None:
            raise ValueError(f"{self.name}: zero points belong to blocks of one group")

    @property
    def groups(self) -> int:
        """Groups per block."""
        return self.weights // self.group

    @property
    def integral(self) -> bool:
        """Whether weights are integers before scaling, so that products with integers are."""
        return not isinstance(self.codes, E4m3)

    @property
    def super_block(self) -> bool:
        """Whether a block of 256 is integers times one factor, and mins are integers times another: a product with integers is
        then a whole number per block. Fits 32 bits with activations up to 127: at most 256 * 127 * 128 * 255."""
        whole = self.weights == 256 and self.integral and self.factor == "f16" and not isinstance(self.scale, Ue4m3)
        return whole and (self.min is None or (self.min.codes is not None and not self.min.zero_point))

    @property
    def vector(self) -> int:
        """Weights that one code stands for."""
        return self.grid.width if self.grid else 1

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and the highest level a code can stand for."""
        if self.grid is not None:
            low, high = min(self.grid.values), max(self.grid.values)
            if isinstance(self.signs, Shift):
                return min(low, low + self.signs.by), max(high, high + self.signs.by)
            return (min(low, -high), max(high, -low)) if self.signs else (low, high)
        if self.codebook is not None:
            return min(self.codebook), max(self.codebook)
        last = 2 if isinstance(self.codes, Trits) else (1 << self.codes.bits) - 1
        return -self.codes.offset, self.codes.step * last - self.codes.offset

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.nbytes / self.weights

    def row_bytes(self, k: int) -> int:
        """Bytes of a row of `k` weights. Raises ValueError if k is not a multiple of `weights`."""
        if k % self.weights:
            raise ValueError(f"{self.name} stores rows in blocks of {self.weights}, and {k} is not a multiple")
        return k // self.weights * self.nbytes


@dataclass(frozen=True)
class DenseFormat:
    """One little-endian number per weight: f32, f16, bf16 or e4m3, or i32 for indices."""

    name: str
    ggml_type: int
    nbytes: int
    weights: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if _DENSE_BYTES.get(self.name) != self.nbytes:
            raise ValueError(f"{self.name} of {self.nbytes} bytes is not one of {_DENSE_BYTES}")

    @property
    def bits_per_weight(self) -> float:
        return 8.0 * self.nbytes

    def row_bytes(self, k: int) -> int:
        """Bytes of a row of `k` weights."""
        return k * self.nbytes


_DENSE_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "i32": 4, "e4m3": 1}
E4M3 = DenseFormat("e4m3", -1, 1)
"""Eight bits: a sign, an exponent of 4 bits with bias 7 and a mantissa of 3; no infinities.  arXiv:2209.05433."""
INDICES = DenseFormat("i32", 26, 4)
"""What take_columns reads its second operand as; not a format of weights that are multiplied."""

Format = BlockFormat | DenseFormat


def split(fmt: BlockFormat, raw: Bytes) -> Parts:
    """Unpacks whole blocks. raw u8, any shape, contiguous. Raises ValueError if it is not a whole number of blocks."""
    if raw.size % fmt.nbytes:
        raise ValueError(f"{raw.size} bytes are no whole blocks of {fmt.name} ({fmt.nbytes} bytes)")
    blocks = raw.reshape(-1, fmt.nbytes)
    fields: dict[str, NDArray[Any]] = {}
    offset = 0
    for f in fmt.layout:
        fields[f.name] = _unpack(f, np.ascontiguousarray(blocks[:, offset : offset + f.nbytes]))
        offset += f.nbytes
    return fmt.parts(SimpleNamespace(**fields))


def _unpack(f: Field, stored: Bytes) -> NDArray[Any]:
    """stored u8 [blocks, nbytes], contiguous -> f16, i8 or u8 [blocks, count], [blocks] for count 1."""
    blocks = len(stored)
    if f.dtype in _STORED:
        values = stored.view(_STORED[f.dtype])
        return values[:, 0] if f.count == 1 else values
    if f.bits == 1 and f.plane == 1:
        return np.unpackbits(stored, axis=1, bitorder="little")
    per_byte = 8 // f.bits
    words = stored.reshape(-1).view(_widest(_WORDS, stored.size))
    mask = words.dtype.type(int.from_bytes(bytes([(1 << f.bits) - 1] * words.itemsize), "little"))
    values = np.empty_like(words)
    out = np.empty((stored.size // f.plane, per_byte, f.plane), np.uint8)
    moved = _widest(_MOVES, f.plane)
    for i in range(per_byte):
        np.right_shift(words, words.dtype.type(i * f.bits), out=values)
        np.bitwise_and(values, mask, out=values)
        out.view(moved)[:, i] = values.view(moved).reshape(len(out), f.plane // moved.itemsize)
    return out.reshape(blocks, f.count)


# Bytes are unpacked a word at a time and moved a plane at a time: three to five times as fast as one by one.
_WORDS = (np.uint64, np.uint32, np.uint16, np.uint8)
_MOVES = (np.complex128, *_WORDS)  # sixteen bytes, whatever they mean: copies keep bits


def _widest(types: tuple[type[np.generic], ...], nbytes: int) -> np.dtype[Any]:
    """The first type whose elements fill `nbytes`."""
    return next(np.dtype(t) for t in types if nbytes % np.dtype(t).itemsize == 0)


def joined(low: Bytes, high: Bytes, at: int) -> Bytes:
    """Codes whose bits from `at` upward are stored apart. (numpy multiplies bytes five times as fast as it shifts them.)"""
    return low | high * np.uint8(1 << at)


def trit(stored: Bytes, digit: int) -> Bytes:
    """Digit 0..4 of bytes that hold trits."""
    digits: Bytes = ((stored * np.uint8(3**digit)).astype(np.uint16) * np.uint16(3) >> np.uint16(8)).astype(np.uint8)
    return digits


def excess_128(values: NDArray[np.int8]) -> Bytes:
    """Signed bytes as unsigned codes with offset 128."""
    return values.view(np.uint8) ^ np.uint8(128)


def dequantize(fmt: Format, raw: Bytes) -> NDArray[np.float32]:
    """Decodes whole blocks: u8, contiguous -> f32 [weights]. Factors are multiplied in ggml's order, so that bits agree with it.

    Raises ValueError if `raw` is not a whole number of blocks.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a file may hold infinities and NaN: they go where arithmetic takes them
        return _decode_dense(fmt, raw) if isinstance(fmt, DenseFormat) else values_of(fmt, split(fmt, raw))


def values_of(fmt: BlockFormat, p: Parts) -> NDArray[np.float32]:
    """What the parts of blocks stand for: f32 [weights]."""
    with np.errstate(over="ignore", invalid="ignore"):
        weights = levels(fmt, p).astype(np.float32).reshape(-1, fmt.groups, fmt.group)
        weights *= _per_group(_factor(fmt, p), p.scale, fmt.scale)[:, :, None]
        if fmt.min is not None:
            weights += np.float32(fmt.min.sign) * _per_group(_min_factor(fmt, p), p.min, fmt.min.codes)[:, :, None]
    return weights.reshape(-1)


def levels(fmt: BlockFormat, parts: Parts) -> NDArray[Any]:
    """The number each weight is before scaling: i16 [blocks, weights], f32 where codes are floats."""
    if fmt.codebook is not None:
        return np.array(fmt.codebook, np.int16)[parts.codes]
    if fmt.grid is None:
        return fmt.codes.values(parts.codes)
    chosen = fmt.grid.table.astype(np.int16)[parts.codes].reshape(-1, fmt.weights)
    if fmt.signs is None:
        return chosen
    assert parts.signs is not None
    return fmt.signs.apply(chosen, parts.signs)


def _factor(fmt: BlockFormat, parts: Parts) -> NDArray[np.float32]:
    """d * unit as f32 [blocks]."""
    if parts.d is None:
        return np.full(len(parts.codes), fmt.unit, np.float32)
    if fmt.factor == "e8m0":
        return np.ldexp(np.float32(fmt.unit), parts.d.astype(np.int32) - 128)
    d = _decode_bf16(parts.d) if fmt.factor == "bf16" else parts.d.astype(np.float32)
    return d * np.float32(fmt.unit)


def _min_factor(fmt: BlockFormat, parts: Parts) -> NDArray[np.float32]:
    """dmin as f32 [blocks]."""
    if parts.dmin is None:
        return _factor(fmt, parts)
    return parts.dmin.astype(np.float32)


def _per_group(d: NDArray[np.float32], codes: Bytes | None, kind: IntCodes | Ue4m3 | None) -> NDArray[np.float32]:
    """d f32 [blocks], codes u8 [blocks, groups] -> f32 [blocks, groups], or [blocks, 1] where there are no codes."""
    if codes is None or kind is None:
        return d[:, None]
    return d[:, None] * kind.values(codes).astype(np.float32)


def _decode_dense(fmt: DenseFormat, raw: Bytes) -> NDArray[np.float32]:
    if raw.size % fmt.nbytes:
        raise ValueError(f"{raw.size} bytes are no whole numbers of {fmt.name}")
    flat = np.ascontiguousarray(raw).reshape(-1)
    if fmt.name == "e4m3":
        return _decode_e4m3(flat)
    if fmt.name == "bf16":
        return _decode_bf16(flat.view("<u2"))
    return flat.view({"f32": "<f4", "f16": "<f2", "i32": "<i4"}[fmt.name]).astype(np.float32)


def _decode_e4m3(stored: Bytes) -> NDArray[np.float32]:
    """u8 of any shape -> f32, same shape."""
    half = (stored & np.uint8(0x80)).astype("<u2") << np.uint16(8) | (stored & np.uint8(0x7F)).astype("<u2") << np.uint16(7)
    value = half.view("<f2").astype(np.float32) * np.float32(256)  # as f16 these bits are 2^-8 of it
    return np.where(stored & np.uint8(0x7F) == 0x7F, np.float32(np.nan), value)


def _decode_bf16(stored: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
