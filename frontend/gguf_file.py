"""Reads one GGUF file, version 2 or 3. A file is hostile until shown otherwise: every length is compared with what the file still
holds before it is used, and nothing is allocated that the file does not pay for with bytes of its own.

Layout (little endian): "GGUF", version u32, tensor count u64, key count u64; the keys: name, value type u32, value; the tensor
infos: name, number of dimensions u32, dimensions u64 (innermost first), type u32, offset u64; then, from the next multiple of
`general.alignment`, the data. A string is its length u64 and its bytes; an array is its element type u32, its count u64 and its
elements.

Reference: ggml/docs/gguf.md.
"""

from __future__ import annotations

import mmap
import re
import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Strings, Tensor, Value, kind_of, map_file, quoted
from llmc.frontend.quant import BY_GGML_TYPE
from llmc.ir.quant import Format

# Far above anything real, low enough that a file at a limit is still answered at once.
MAX_KEYS = 1 << 16
MAX_KEY_BYTES = (1 << 16) - 1
MAX_TENSORS = 1 << 17
MAX_NAME_BYTES = 63
MAX_DIMS = 4
MAX_STRING_BYTES = 64 << 20
MAX_TEMPLATE_BYTES = 1 << 20
MAX_STRINGS = 1 << 22  # in all arrays together
MAX_ALIGNMENT = 1 << 20
SMALLEST_KEY = 8 + 1 + 4 + 1
SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8

NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}
BOOL, STRING, ARRAY = 7, 8, 9

# Every tensor type ggml has had, so that the ones llmc does not read are refused by name.
TYPE_NAMES = dict(
    enumerate(
        "f32 f16 q4_0 q4_1 q4_2 q4_3 q5_0 q5_1 q8_0 q8_1 q2_k q3_k q4_k q5_k q6_k q8_k iq2_xxs iq2_xs iq3_xxs iq1_s iq4_nl iq3_s "
        "iq2_s iq4_xs i8 i16 i32 i64 f64 iq1_m bf16 q4_0_4_4 q4_0_4_8 q4_0_8_8 tq1_0 tq2_0 iq4_nl_4_4 iq4_nl_4_8 iq4_nl_8_8 "
        "mxfp4 nvfp4 q1_0 q2_0".split()
    )
)
_HINTS = {"q2_0": "a fork writes q2_0 in blocks of 128 weights; llmc reads ggml's, of 64"}  # for data of another size
REMOVED_TYPES = frozenset({4, 5, 31, 32, 33, 36, 37, 38})


@dataclass(frozen=True)
class Part:
    """One file, read and checked by itself. `data` is all of it, mapped."""

    path: Path
    data: mmap.mmap
    keys: Mapping[str, Value]
    tensors: tuple[Tensor, ...]


class _Cursor:
    """Reads forward through a mapped file. `what` names the thing being read, for the message when the file ends too early."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.file = path.name
        self.data = data
        self.size = len(data)
        self.at = 0
        self.strings_left = MAX_STRINGS

    def take(self, nbytes: int, what: str) -> int:
        """Steps over `nbytes` and returns where they start."""
        start = self.at
        if nbytes > self.size - start:
            raise self.malformed(f"truncated: {what} needs {nbytes} bytes at {start}, beyond the end of the file ({self.size})")
        self.at = start + nbytes
        return start

    def u32(self, what: str) -> int:
        return int(_U32(self.data, self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(_U64(self.data, self.take(8, what))[0])

    def text(self, what: str, limit: int) -> str:
        """A string of at most `limit` bytes of UTF-8."""
        nbytes = self.u64(f"the length of {what}")
        if nbytes > limit:
            raise self.malformed(f"{what} has a string length of {nbytes} bytes, more than {limit}")
        start = self.take(nbytes, what)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError:
            raise self.malformed(f"{what} is not UTF-8") from None

    def malformed(self, text: str, hint: str | None = None) -> MalformedFileError:
        return MalformedFileError(f"{self.file}: {text}", hint=hint)


_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from


def read_part(path: Path, file: int, vocabulary_only: bool) -> Part:
    """Reads file number `file` of a model; with vocabulary_only its keys alone. Raises what `read_gguf` raises."""
    c = _Cursor(path, map_file(path))
    _check_magic(c)
    tensor_count = _count(c, "tensor count", MAX_TENSORS, SMALLEST_TENSOR if not vocabulary_only else 0)
    key_count = _count(c, "kv count", MAX_KEYS, SMALLEST_KEY)
    keys: dict[str, Value] = {}
    for i in range(key_count):
        _read_key(c, keys, f"key {i + 1} of {key_count}")
    if vocabulary_only:
        return Part(path, c.data, keys, ())
    infos = [_read_info(c, f"tensor {i + 1} of {tensor_count} (the tensor count)") for i in range(tensor_count)]
    return Part(path, c.data, keys, _place(c, infos, _alignment(c, keys), file))


def _check_magic(c: _Cursor) -> None:
    magic = c.data[c.take(4, "the magic") : c.at]
    if magic != b"GGUF":
        raise c.malformed(f"not a GGUF file: the magic is {magic!r}")
    version = c.u32("the version")
    if version and not version & 0xFFFF:
        raise UnsupportedModelError(f"{c.file}: big-endian GGUF; llmc reads little-endian files")
    if version not in (2, 3):
        raise UnsupportedModelError(f"{c.file}: GGUF version {version}; llmc reads versions 2 and 3")


def _count(c: _Cursor, what: str, limit: int, smallest: int) -> int:
    count = c.u64(f"the {what}")
    if count > limit or count * smallest > c.size - c.at:
        raise c.malformed(f"{what} {count} is more than the file of {c.size} bytes can hold, or than {limit}")
    return count


def _read_key(c: _Cursor, keys: dict[str, Value], which: str) -> None:
    name = c.text(f"the name of {which} (key length)", MAX_KEY_BYTES)
    if not name or "\0" in name:
        raise c.malformed(f"{which} has " + ("a NUL in its name" if name else "an empty key name"))
    if name in keys:
        raise c.malformed(f"key {quoted(name)} is there twice")
    what = f"key {quoted(name)}"
    keys[name] = _read_value(c, what, _string_limit(name))


def _string_limit(key: str) -> int:
    return MAX_TEMPLATE_BYTES if key.startswith("tokenizer.chat_template") else MAX_STRING_BYTES


def _read_value(c: _Cursor, what: str, limit: int) -> Value:
    kind = c.u32(f"the value type of {what}")
    if kind == STRING:
        return c.text(what, limit)
    if kind == ARRAY:
        return _read_array(c, what)
    value: Value = _read_numbers(c, kind, 1, what, "value type")[0].item()
    return value


def _read_array(c: _Cursor, what: str) -> Value:
    kind = c.u32(f"the array element type of {what}")
    if kind == ARRAY:
        raise UnsupportedModelError(f"{c.file}: {what} is a nested array, which no model needs and llmc does not read")
    count = c.u64(f"the array length of {what}")
    if kind == STRING:
        return _read_strings(c, count, what)
    return _read_numbers(c, kind, count, what, "array element type")


def _read_numbers(c: _Cursor, kind: int, count: int, what: str, called: str) -> np.ndarray:
    """A view of `count` numbers in the file. Booleans are bytes 0 and 1."""
    stored = "<u1" if kind == BOOL else NUMBERS.get(kind)
    if stored is None:
        raise c.malformed(f"{what} has {called} {kind}, which GGUF does not know")
    dtype = np.dtype(stored)
    start = c.take(count * dtype.itemsize, f"{what} (array length {count})")
    values: np.ndarray = np.frombuffer(c.data, dtype, count, start)
    if kind != BOOL:
        return values
    if count and values.max() > 1:
        raise c.malformed(f"{what} has a boolean that is neither 0 nor 1")
    return values.view(np.bool_)


def _read_strings(c: _Cursor, count: int, what: str) -> Strings:
    """Walks over `count` strings and keeps where each ends."""
    if count > c.strings_left or count * 8 > c.size - c.at:
        raise c.malformed(f"{what} has array length {count}: beyond the end of the file, or of {MAX_STRINGS} strings in all")
    c.strings_left -= count
    data, at, last = c.data, c.at, c.size - 8
    ends = array("q", [at])
    for i in range(count):
        if at <= last:
            at += 8 + _U64(data, at)[0]
        if at > c.size or at == ends[-1]:
            raise c.malformed(f"truncated: string {i} of {what} ends beyond the end of the file ({c.size})")
        ends.append(at)
    c.at = at
    return Strings(data, ends, prefix=8)


@dataclass(frozen=True)
class _Info:
    """A tensor info as it stands in the file: its offset counts from the start of the data."""

    name: str
    format: Format
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def _read_info(c: _Cursor, which: str) -> _Info:
    name = c.text(f"the name of {which}", MAX_NAME_BYTES)
    shown = quoted(name)
    if not re.fullmatch(r"[!-~]+", name):
        raise c.malformed(f"{which} has the tensor name {shown}: expected printable ASCII without spaces")
    n_dims = c.u32(f"the number of dimensions of tensor {shown}")
    if not 1 <= n_dims <= MAX_DIMS:
        raise c.malformed(f"tensor {shown} has {n_dims} dimensions, expected 1 to {MAX_DIMS}; it is {which}")
    dims = [c.u64(f"dimension {d} of tensor {shown}") for d in range(n_dims)]
    fmt = _format(c, c.u32(f"the type of tensor {shown}"), shown)
    offset = c.u64(f"the offset of tensor {shown}")
    if 0 in dims or prod(dims) >= 1 << 63:
        raise c.malformed(f"tensor {shown} has dimensions {dims}: none may be 0, nor their product exceed 63 bits")
    if dims[0] % fmt.weights:
        raise c.malformed(f"tensor {shown} has rows of {dims[0]} weights; {fmt.name} needs a multiple of {fmt.weights}")
    return _Info(name, fmt, tuple(reversed(dims)), offset, fmt.row_bytes(dims[0]) * prod(dims[1:]))


def _format(c: _Cursor, ggml_type: int, shown: str) -> Format:
    if ggml_type in BY_GGML_TYPE:
        return BY_GGML_TYPE[ggml_type]
    if ggml_type not in TYPE_NAMES:
        raise c.malformed(f"tensor {shown} has type {ggml_type}, which ggml does not know")
    why = "ggml has removed" if ggml_type in REMOVED_TYPES else "llmc cannot read"
    raise UnsupportedModelError(
        f"{c.file}: tensor {shown} has type {TYPE_NAMES[ggml_type]}, which {why}", hint='"llmc formats" lists the types it can'
    )


def _alignment(c: _Cursor, keys: Mapping[str, Value]) -> int:
    value = keys.get("general.alignment", 32)
    if isinstance(value, bool) or not isinstance(value, int):
        raise c.malformed(f"key general.alignment is {kind_of(value)}, expected an integer")
    if not 8 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise c.malformed(f"key general.alignment is {value}, expected a power of two from 8 to {MAX_ALIGNMENT}")
    return value


def _place(c: _Cursor, infos: list[_Info], alignment: int, file: int) -> tuple[Tensor, ...]:
    """Finds the tensors' bytes: aligned, inside the file, each byte owned by one tensor at most. Holes are no harm."""
    start = -(-c.at // alignment) * alignment
    end, owner, hint = 0, "", None
    for info in sorted(infos, key=lambda info: info.offset):
        if info.offset % alignment:
            raise c.malformed(f"tensor {info.name} has offset {info.offset}, which is no multiple of {alignment}")
        if info.offset + info.nbytes > c.size - start:
            raise c.malformed(
                f"truncated: tensor {info.name} needs {info.nbytes} bytes at {start + info.offset}, "
                f"beyond the end of the file ({c.size})",
                _HINTS.get(info.format.name),
            )
        if info.offset < end:
            raise c.malformed(f"tensor {info.name} overlaps tensor {owner}", hint)
        end, owner, hint = info.offset + info.nbytes, info.name, _HINTS.get(info.format.name)
    return tuple(Tensor(i.name, i.format, i.shape, file, start + i.offset, i.nbytes) for i in infos)
