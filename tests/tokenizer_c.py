"""The runtime's tokenizer, compiled on its own and called through ctypes, for the tests of both of its halves."""

import ctypes
import functools
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from llmc.frontend.gguf import read_gguf
from llmc.frontend.tokenizer import compile_tokenizer

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("", "_blob", "_bpe", "_decode", "_merge", "_special", "_spm")
SOURCES = (*(f"tokenizer{part}" for part in PARTS), "pretokenize", "utf8", "memory")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
OK, ERR_ARG, ERR_FORMAT, ERR_NOMEM, ERR_SPACE = 0, 1, 3, 4, 9
ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL, REMOVE_SPECIAL = 1, 2, 4, 8

Alloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
Free = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class Allocator(ctypes.Structure):
    _fields_ = [("alloc", Alloc), ("free", Free), ("user", ctypes.c_void_p)]


def sources() -> list[str]:
    return [str(ROOT / "runtime" / "src" / f"{name}.c") for name in SOURCES]


def compile_c(arguments: Iterable[str], out: Path) -> Path:
    """Compiles C with the runtime's headers at hand and every warning an error."""
    include = ["-I", str(ROOT / "runtime" / "include"), "-I", str(ROOT / "runtime" / "src")]
    subprocess.run(["cc", *WARNINGS, *include, *arguments, "-o", str(out)], check=True)
    return out


@functools.cache
def library() -> ctypes.CDLL:
    folder = Path(tempfile.mkdtemp(prefix="llmc-tokenizer-"))
    lib = ctypes.CDLL(str(compile_c(["-O2", "-shared", "-fPIC", *sources()], folder / "tokenizer.so")))
    p, size = ctypes.c_void_p, ctypes.c_size_t
    lib.llmc_tokenizer_from_memory.argtypes = [p, size, p, p]
    lib.llmc_tokenizer_close.argtypes = [p]
    lib.llmc_tokenizer_encode.argtypes = [p, ctypes.c_char_p, size, ctypes.c_uint, p, size, p]
    lib.llmc_tokenizer_decode.argtypes = [p, p, size, ctypes.c_uint, p, size, p]
    lib.llmc_tokenizer_size.argtypes = [p]
    lib.llmc_tokenizer_token.argtypes = [p, ctypes.c_int]
    lib.llmc_tokenizer_is_end.argtypes = [p, ctypes.c_int32]
    lib.llmc_tokenizer_is_end.restype = ctypes.c_bool
    lib.llmc_tokenizer_piece.argtypes = [p, ctypes.c_int32, ctypes.c_uint, p, p]
    return lib


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Tokenizer:
    """A compiled blob, opened. Raises StatusError where C returns a status that is not LLMC_OK."""

    def __init__(self, blob: bytes, allocator: Allocator | None = None) -> None:
        self.memory = np.zeros(len(blob) + 16, np.uint8)
        start = -self.memory.ctypes.data % 16
        self.memory[start : start + len(blob)] = np.frombuffer(blob, np.uint8)
        self.handle = ctypes.c_void_p()
        chosen = ctypes.byref(allocator) if allocator else None
        check(library().llmc_tokenizer_from_memory(self.memory.ctypes.data + start, len(blob), chosen, ctypes.byref(self.handle)))

    def __enter__(self) -> "Tokenizer":
        return self

    def __exit__(self, *_: object) -> None:
        library().llmc_tokenizer_close(self.handle)
        self.handle = ctypes.c_void_p()

    def encode(self, text: bytes | str, flags: int = 0, capacity: int | None = None) -> list[int]:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        room = 3 * len(data) + 5 if capacity is None else capacity
        ids, count = np.zeros(room, np.int32), ctypes.c_size_t()
        check(library().llmc_tokenizer_encode(self.handle, data, len(data), flags, ids.ctypes.data, room, ctypes.byref(count)))
        return ids[: count.value].tolist()

    def decode(self, ids: Iterable[int], flags: int = 0, capacity: int | None = None) -> bytes:
        given = np.array(list(ids), np.int32)
        size = ctypes.c_size_t()
        room = 0 if capacity is None else capacity
        while True:
            out = np.zeros(room, np.uint8)
            status = library().llmc_tokenizer_decode(
                self.handle, given.ctypes.data, len(given), flags, out.ctypes.data, room, ctypes.byref(size)
            )
            if status != ERR_SPACE or capacity is not None:
                check(status)
                return out[: size.value].tobytes()
            assert size.value > room
            room = size.value

    def piece(self, token: int, flags: int = 0) -> bytes:
        start, size = ctypes.c_void_p(), ctypes.c_size_t()
        check(library().llmc_tokenizer_piece(self.handle, token, flags, ctypes.byref(start), ctypes.byref(size)))
        return ctypes.string_at(start.value, size.value)

    @property
    def size(self) -> int:
        return library().llmc_tokenizer_size(self.handle)

    def token(self, role: int) -> int:
        return library().llmc_tokenizer_token(self.handle, role)

    def is_end(self, token: int) -> bool:
        return library().llmc_tokenizer_is_end(self.handle, token)


def check(status: int) -> None:
    if status != OK:
        raise StatusError(status)


@functools.cache
def compiled(path: Path) -> bytes:
    """The blob of a GGUF file's vocabulary."""
    return compile_tokenizer(read_gguf(path, vocabulary_only=True))
