"""What a model file holds, whatever its container: typed keys and named tensors whose bytes stay in the mapped files.

A reader (gguf.py, huggingface.py) has checked every length before it makes a Checkpoint; what a key must say is asked here, by
the getters.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, Self, TypeVar, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UsageError
from llmc.ir.quant import Format

Bytes = NDArray[np.uint8]
D = TypeVar("D")


class Required:
    """Type of REQUIRED, the default of a getter whose key must be there."""


REQUIRED: Final = Required()


@dataclass(frozen=True)
class Tensor:
    """A stored tensor. shape has rows first: (N, K), K weights make a row. offset and nbytes are bytes in file number `file`.

    columns: the tensor i32 [K] that says which column of the weight each stored column is; None where they are in order.
    scales: the tensor of N factors, one for each row; None where the format has all of them.
    """

    name: str
    format: Format
    shape: tuple[int, ...]
    file: int
    offset: int
    nbytes: int
    columns: str | None = None
    scales: str | None = None


class Strings(Sequence[bytes]):
    """An array of strings left in the mapped file: UTF-8 is checked when they are asked for as text.

    String i lies between ends[i] + prefix and ends[i + 1]: each is preceded by `prefix` bytes of length.
    """

    def __init__(self, data: mmap.mmap, ends: Sequence[int], prefix: int) -> None:
        self._data, self._ends, self._prefix = data, ends, prefix

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> list[bytes]: ...
    def __getitem__(self, i: int | slice) -> bytes | list[bytes]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return self._data[self._ends[i] + self._prefix : self._ends[i + 1]]

    def __iter__(self) -> Iterator[bytes]:
        data, prefix, start = self._data, self._prefix, self._ends[0]
        for end in self._ends[1:]:
            yield data[start + prefix : end]
            start = end


Value = bool | int | float | str | NDArray[Any] | Strings | list[Any] | None  # the last two: JSON's mixed arrays, and null


class Derived(Protocol):
    """A tensor whose bytes are computed from stored ones. `parts`: what it is made of, which need not be shown beside it."""

    @property
    def tensor(self) -> Tensor: ...

    @property
    def parts(self) -> Mapping[str, Any]: ...

    def assemble(self, read: Callable[[Any], Bytes]) -> Bytes:
        """Its bytes; `read` gives those of a part."""
        ...


@runtime_checkable
class InPieces(Protocol):
    """A derived tensor that can be made matrix by matrix."""

    def pieces(self, read: Callable[[Any], Bytes]) -> Iterator[Bytes]: ...


class Checkpoint:
    """An open model: `keys` by name, `tensors` by name, bytes on demand. Closing is optional; arrays given out outlive it.

    path is what the user named, files are all parts in order, those that are mapped first. The getters raise MalformedFileError,
    naming the key, where a required key is missing, has another type than asked for, or lies out of range.
    """

    container = "gguf"
    integers_are_numbers = False  # whether a number may be written without a fraction
    architecture_key = "general.architecture"

    def __init__(
        self, files: Sequence[Path], maps: Sequence[mmap.mmap], keys: Mapping[str, Value], tensors: Mapping[str, Tensor]
    ) -> None:
        self.path = files[0]
        self.files = tuple(files)
        self.keys: Mapping[str, Value] = MappingProxyType(dict(keys))
        self.tensors: Mapping[str, Tensor] = MappingProxyType(dict(tensors))
        self.derived: Mapping[str, Derived] = {}
        self._beneath: Self | None = None  # what the derived tensors are made of, where it is no file
        self._maps = tuple(maps)
        self.architecture = self._architecture()
        if not re.fullmatch(r"[!-~]{1,64}", self.architecture):
            raise self.wrong(
                self.architecture_key, f"is {quoted(self.architecture)}, expected a name of 1 to 64 ASCII characters"
            )

    def _architecture(self) -> str:
        return self.string(self.architecture_key)

    @property
    def key_file(self) -> str:
        """The name of the file that the keys stand in, for messages."""
        return self.path.name

    def integer(self, key: str, low: int, high: int, default: D | Required = REQUIRED) -> int | D:
        """An integer of any width, low <= value <= high."""
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong_type(key, "an integer")
        if not low <= value <= high:
            raise self.wrong(key, f"is {value}, expected {low} to {high}")
        return value

    def number(self, key: str, default: D | Required = REQUIRED, *, low: float = -math.inf, high: float = math.inf) -> float | D:
        """A finite floating-point number, low <= value <= high."""
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if self.integers_are_numbers and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
            value = float(value)
        if not isinstance(value, float):
            raise self._wrong_type(key, "a floating-point number")
        if not (math.isfinite(value) and low <= value <= high):
            raise self.wrong(key, f"is {value}, expected a finite number" + (f" from {low} to {high}" if low > -math.inf else ""))
        return value

    def flag(self, key: str, default: D | Required = REQUIRED) -> bool | D:
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if not isinstance(value, bool):
            raise self._wrong_type(key, "a boolean")
        return value

    def string(self, key: str, default: D | Required = REQUIRED) -> str | D:
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if not isinstance(value, str):
            raise self._wrong_type(key, "a string")
        return value

    def integers(self, key: str, low: int, high: int, default: D | Required = REQUIRED) -> tuple[int, ...] | D:
        """An array of integers, each low <= value <= high; a single integer is an array of one."""
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if isinstance(value, int) and not isinstance(value, bool):
            return (self.integer(key, low, high),)
        if isinstance(value, list) and not value:
            return ()
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
            raise self._wrong_type(key, "an array of integers")
        outside = np.flatnonzero((value < low) | (value > high))
        if outside.size:
            raise self.wrong(key, f"holds {value[outside[0]]} at index {outside[0]}, expected {low} to {high}")
        return tuple(value.tolist())

    def numbers(self, key: str, default: D | Required = REQUIRED) -> NDArray[np.float64] | D:
        """An array of floating-point numbers, none of them NaN."""
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in ("if" if self.integers_are_numbers else "f"):
            raise self._wrong_type(key, "an array of floating-point numbers")
        nan = np.flatnonzero(np.isnan(value))
        if nan.size:
            raise self.wrong(key, f"holds NaN at index {nan[0]}")
        return value.astype(np.float64)

    def strings(self, key: str, default: D | Required = REQUIRED) -> list[str] | D:
        """An array of UTF-8 strings. A string that is not UTF-8 is refused by its index."""
        value = self._get(key)
        if value is None:
            return self._default(key, default)
        if isinstance(value, list) and all(isinstance(text, str) for text in value):
            return list(value)
        if not isinstance(value, Strings):
            raise self._wrong_type(key, "an array of strings")
        texts: list[str] = []
        try:
            texts.extend(raw.decode() for raw in value)
        except UnicodeDecodeError as e:
            raise self.wrong(key, f"holds at index {len(texts)} a string that is not UTF-8 ({e.object[:20]!r})") from None
        return texts

    def wrong(self, key: str, why: str) -> MalformedFileError:
        """The error that says what is wrong with a key: `wrong(key, "is 3, expected ...")`."""
        return MalformedFileError(f"{self.key_file}: key {quoted(key)} {why}")

    def showing(self, derived: Mapping[str, Derived]) -> Self:
        """The same checkpoint with these tensors, by name, in the place of those they are made of."""
        hidden = {part.name for d in derived.values() for part in d.parts.values()}
        other = copy(self)
        other._beneath, other.derived = self, derived
        tensors = {name: t for name, t in self.tensors.items() if name not in hidden}
        other.tensors = MappingProxyType({**tensors, **{name: d.tensor for name, d in derived.items()}})
        return other

    def data(self, name: str) -> Bytes:
        """The bytes of a tensor: u8 [nbytes]. Those that are stored as they are are read-only and not copied."""
        return self._bytes(self.tensors[name])

    def pieces(self, name: str) -> Iterator[Bytes]:
        """The same as one or more arrays of whole matrices, in order, so that not all of them are in memory at a time."""
        derived = self.derived.get(name)
        if isinstance(derived, InPieces) and len(derived.tensor.shape) > 2:
            yield from derived.pieces(self._read)
        elif derived is None and self._beneath is not None:
            yield from self._beneath.pieces(name)
        else:
            yield self.data(name)

    def release(self, name: str) -> None:
        """Says that a tensor's bytes are not needed soon: they stop being resident, and are read again if asked for."""
        self._let_go(self.tensors[name])

    def _bytes(self, tensor: Tensor) -> Bytes:
        derived = self.derived.get(tensor.name)
        return self._read(tensor) if derived is None else derived.assemble(self._read)

    def _read(self, part: Any) -> Bytes:
        """The bytes of what a derived tensor is made of: a tensor of the checkpoint beneath, or something stored."""
        return self._stored(part) if self._beneath is None else self._beneath._bytes(part)

    def _stored(self, part: Any) -> Bytes:
        return np.frombuffer(self._maps[part.file], np.uint8, part.nbytes, part.offset)

    def _let_go(self, tensor: Tensor) -> None:
        derived = self.derived.get(tensor.name)
        for part in derived.parts.values() if derived else (tensor,):
            if self._beneath is None:
                self._release(part.file, part.offset, part.nbytes)
            else:
                self._beneath._let_go(part)

    def _release(self, file: int, offset: int, nbytes: int) -> None:
        start = offset - offset % mmap.PAGESIZE
        if hasattr(mmap, "MADV_DONTNEED"):
            self._maps[file].madvise(mmap.MADV_DONTNEED, start, offset + nbytes - start)

    def sha256(self) -> str:
        """Hex digest over the bytes of all files in order."""
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
        return digest.hexdigest()

    def close(self) -> None:
        """Lets go of the files. They are unmapped when the last array that `data` gave out is gone."""
        if self._beneath is not None:
            self._beneath.close()
        self._maps = ()
        self.keys = MappingProxyType({})
        self.tensors = MappingProxyType({})

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, key: str) -> Value | None:
        return self.keys.get(key)

    def _default(self, key: str, default: D | Required) -> D:
        if isinstance(default, Required):
            raise MalformedFileError(f"{self.key_file}: key {quoted(key)} is missing")
        return default

    def _wrong_type(self, key: str, expected: str) -> MalformedFileError:
        return self.wrong(key, f"is {kind_of(self.keys[key])}, expected {expected}")


def kind_of(value: Value) -> str:
    """What a value is, in words for a message: "a string", "an array of integers" ..."""
    if isinstance(value, np.ndarray):
        arrays = {"f": "an array of floating-point numbers", "b": "an array of booleans"}
        return arrays.get(value.dtype.kind, "an array of integers")
    kinds: dict[type, str] = {
        bool: "a boolean", int: "an integer", float: "a floating-point number", str: "a string", Strings: "an array of strings",
        list: "an array", type(None): "null",
    }  # fmt: skip
    return kinds[type(value)]


def quoted(text: str, limit: int = 80) -> str:
    """A name from a file, fit for a message: as it is where that is harmless, else escaped and cut to `limit` characters."""
    if len(text) > limit:
        text = text[:limit] + "..."
    return text if text.isascii() and text.isprintable() and text and " " not in text else ascii(text)


def map_file(path: Path) -> mmap.mmap:
    """Maps a file for reading. Raises UsageError if it cannot be opened, MalformedFileError if it is empty or no regular file."""
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # asked before opening: opening a pipe waits for a writer
            raise MalformedFileError(f"{path.name}: not a regular file")
        if info.st_size == 0:
            raise MalformedFileError(f"{path.name}: the file is empty (0 bytes)")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as e:
        raise UsageError(f"cannot read {path}: {e.strerror or e}") from e
