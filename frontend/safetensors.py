"""Reads one safetensors file. A file is hostile until shown otherwise: every length is compared with what the file holds before
it is used, and the tensors' bytes must cover the data exactly once, so that no two readers see different things in one file.

Layout: length of the header u64 (little endian), the header, the data. The header is a JSON object, which spaces may follow: name
-> {"dtype", "shape", "data_offsets": [begin, end)}, offsets in bytes from the start of the data; "__metadata__" holds strings.

Reference: https://github.com/huggingface/safetensors, README, "Format".
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import map_file, quoted
from llmc.frontend.json_file import parse_object

MAX_HEADER: Final = 100 << 20
MAX_TENSORS: Final = 1 << 19
MAX_NAME: Final = 512
MAX_DIMS: Final = 8
BYTES: Final = {  # of one element
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1,
    "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8,
}  # fmt: skip
NARROW: Final = frozenset({"F4", "F6_E2M3", "F6_E3M2"})  # less than a byte each


@dataclass(frozen=True)
class Stored:
    """A tensor as the header describes it. offset counts bytes from the start of file number `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: int
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Shard:
    """One file, read and checked by itself. `data` is all of it, mapped."""

    path: Path
    data: mmap.mmap
    tensors: Mapping[str, Stored]


def read_shard(path: Path, file: int) -> Shard:
    """Reads file number `file` of a model. Raises MalformedFileError or UnsupportedModelError, naming the file and the tensor,
    and UsageError where it cannot be opened.
    """
    data = map_file(path)
    start = _data_start(path, data)
    header = parse_object(data[8:start], f"{path.name}: header")
    _check_metadata(path, header.pop("__metadata__", {}))
    if len(header) > MAX_TENSORS:
        raise MalformedFileError(f"{path.name}: {len(header)} tensors, more than {MAX_TENSORS}")
    tensors = {name: _stored(path, name, entry, file, start) for name, entry in header.items()}
    _check_cover(path, tensors, start, len(data))
    return Shard(path, data, tensors)


def _data_start(path: Path, data: mmap.mmap) -> int:
    if len(data) < 8:
        raise MalformedFileError(f"{path.name}: truncated: {len(data)} bytes, and the header length alone takes 8")
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(len(data) - 8, MAX_HEADER):
        raise MalformedFileError(
            f"{path.name}: header length {length}: expected 2 to {MAX_HEADER}, and less than the file of {len(data)} bytes"
        )
    if data[8:9] != b"{":
        raise MalformedFileError(f"{path.name}: the header does not begin with a brace: not a safetensors file")
    return 8 + length


def _check_metadata(path: Path, metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedFileError(f"{path.name}: __metadata__ of the header is no object of strings")


def _stored(path: Path, name: str, entry: object, file: int, start: int) -> Stored:
    """One entry of the header, checked on its own: bytes and shape agree."""
    shown = f"{path.name}: tensor {quoted(name, MAX_NAME)}"
    if not re.fullmatch(rf"[!-~]{{1,{MAX_NAME}}}", name):
        raise MalformedFileError(f"{shown}: the tensor name is not 1 to {MAX_NAME} printable ASCII characters")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise MalformedFileError(f"{shown}: the entry is no object of dtype, shape and data_offsets")
    dtype, shape = _dtype(shown, entry["dtype"]), _shape(shown, entry["shape"])
    offsets = entry["data_offsets"]
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise MalformedFileError(f"{shown}: data_offsets are not two ascending numbers of bytes")
    nbytes = prod(shape) * BYTES[dtype]
    if nbytes != offsets[1] - offsets[0]:
        raise MalformedFileError(f"{shown}: shape {list(shape)} of {dtype} takes {nbytes} bytes, not data_offsets {offsets}")
    return Stored(name, dtype, shape, file, start + offsets[0], nbytes)


def _dtype(shown: str, dtype: object) -> str:
    if isinstance(dtype, str) and dtype in NARROW:
        raise UnsupportedModelError(f"{shown} has dtype {dtype}, which llmc cannot read")
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise MalformedFileError(f"{shown}: dtype {quoted(str(dtype))} is none that safetensors has")
    return dtype


def _shape(shown: str, shape: Any) -> tuple[int, ...]:
    if not _are_sizes(shape) or len(shape) > MAX_DIMS:
        raise MalformedFileError(f"{shown}: the shape is no list of at most {MAX_DIMS} sizes")
    return tuple(shape)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 63 for n in values)


def _check_cover(path: Path, tensors: Mapping[str, Stored], start: int, size: int) -> None:
    """Every byte of the data belongs to exactly one tensor."""
    in_order = sorted(tensors.values(), key=lambda t: (t.offset, t.nbytes))
    for t in in_order:
        if t.offset + t.nbytes > size:
            raise MalformedFileError(
                f"{path.name}: truncated: tensor {t.name} needs {t.nbytes} bytes at {t.offset}, beyond the file's end ({size})"
            )
    end, owner = start, "the header"
    for t in in_order:
        if t.offset != end:
            wrong = "overlaps" if t.offset < end else f"lies {t.offset - end} bytes behind"
            raise MalformedFileError(f"{path.name}: tensor {t.name} {wrong} {owner}")
        end, owner = t.offset + t.nbytes, f"tensor {t.name}"
    if end != size:
        raise MalformedFileError(f"{path.name}: {size - end} bytes behind {owner} belong to no tensor")
