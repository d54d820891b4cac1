"""The runtime's tokenizer, compiled on its own and called through ctypes, for the tests of both of its halves."""

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from llmc.frontend.gguf import read_gguf
from llmc.frontend.tokenizer import compile_tokenizer

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("", "_blob", "_bpe", "_decode", "_merge", "_normalize", "_pair", "_special", "_spm", "_unigram", "_wordpiece")
SOURCES = (*(f"tokenizer{part}" for part in PARTS), "pretokenize", "utf8", "memory")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
OK, ERR_ARG, ERR_FORMAT, ERR_NOMEM, ERR_SPACE = 0, 1, 3, 4, 9
ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL, REMOVE_SPECIAL = 1, 2, 4, 8


def sources() -> list[str]:
    return [str(ROOT / "runtime" / "src" / f"{name}.c") for name in SOURCES]


def compile_c(arguments: Iterable[str], out: Path) -> Path:
    """Compiles C with the runtime's headers at hand and every warning an error, by gcc or, without it, ziglang's clang."""
    compiler = ["gcc"] if shutil.which("gcc") else [sys.executable, "-m", "ziglang", "cc"]
    include = ["-I", str(ROOT / "runtime" / "include"), "-I", str(ROOT / "runtime" / "src")]
    subprocess.run([*compiler, *WARNINGS, *include, *arguments, "-o", str(out)], check=True)
    return out


def library(flags: Sequence[str] = ()) -> ctypes.CDLL:
    """The tokenizer as a shared library, its sources compiled with `flags`, and tests/runtime/c/tokenizer_words.c without."""
    return _library(tuple(flags))


@functools.cache
def _library(flags: tuple[str, ...]) -> ctypes.CDLL:
    folder = Path(tempfile.mkdtemp(prefix="llmc-tokenizer-"))
    words = compile_c(["-O2", "-fPIC", "-c", str(ROOT / "tests" / "runtime" / "c" / "tokenizer_words.c")], folder / "words.o")
    lib = ctypes.CDLL(str(compile_c(["-O2", "-shared", "-fPIC", *flags, *sources(), str(words)], folder / "tokenizer.so")))
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
    lib.llmc_test_words.argtypes = [p, ctypes.c_char_p, size, p]
    lib.llmc_test_words.restype = size
    lib.llmc_test_blocks.restype = ctypes.c_uint64
    return lib


class StatusError(Exception):
    """C returned a status that is not LLMC_OK."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check(status: int) -> None:
    if status != OK:
        raise StatusError(status)


class Tokenizer:
    """A compiled blob, opened."""

    def __init__(self, blob: bytes, lib: ctypes.CDLL | None = None, misalign: int = 0) -> None:
        self.lib = lib or library()
        self.memory = np.zeros(len(blob) + 32, np.uint8)
        start = -self.memory.ctypes.data % 16 + misalign
        self.memory[start : start + len(blob)] = np.frombuffer(blob, np.uint8)
        self.handle = ctypes.c_void_p()
        check(self.lib.llmc_tokenizer_from_memory(self.memory.ctypes.data + start, len(blob), None, ctypes.byref(self.handle)))

    def __del__(self) -> None:
        if self.handle:
            self.lib.llmc_tokenizer_close(self.handle)

    def encode(self, text: bytes | str, flags: int = 0) -> list[int]:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        ids = np.full(16 * len(data) + 5, -7, np.int32)  # one character may become 18 by NFKC
        count = ctypes.c_size_t()
        check(self.lib.llmc_tokenizer_encode(self.handle, data, len(data), flags, ids.ctypes.data, len(ids), ctypes.byref(count)))
        return ids[: count.value].tolist()

    def encode_into(self, text: bytes, room: int) -> tuple[int, list[int], int]:
        """(status, what lies in a buffer of `room` ids and one more, count)."""
        ids, count = np.full(room + 1, -7, np.int32), ctypes.c_size_t()
        status = self.lib.llmc_tokenizer_encode(self.handle, text, len(text), 0, ids.ctypes.data, room, ctypes.byref(count))
        return status, ids.tolist(), count.value

    def decode(self, ids: Sequence[int], flags: int = 0) -> bytes:
        status, _, size = self.decode_into(ids, 0, flags)
        if status == ERR_SPACE:
            status, text, size = self.decode_into(ids, size, flags)
            check(status)
            return text[:size]
        check(status)
        return b""

    def decode_into(self, ids: Sequence[int], room: int, flags: int = 0) -> tuple[int, bytes, int]:
        """(status, what lies in a buffer of `room` bytes and one more, size)."""
        given, out, size = np.array(ids, np.int32), np.full(room + 1, 0x7F, np.uint8), ctypes.c_size_t()
        status = self.lib.llmc_tokenizer_decode(
            self.handle, given.ctypes.data, len(given), flags, out.ctypes.data, room, ctypes.byref(size)
        )  # fmt: skip
        return status, out.tobytes(), size.value

    def piece(self, token: int, flags: int = 0) -> bytes:
        start, size = ctypes.c_void_p(), ctypes.c_size_t()
        check(self.lib.llmc_tokenizer_piece(self.handle, token, flags, ctypes.byref(start), ctypes.byref(size)))
        return ctypes.string_at(start.value, size.value)

    def words(self, text: bytes) -> list[bytes]:
        """What the pre-tokenizer makes of a text that is UTF-8."""
        sizes = np.zeros(len(text), np.uint32)
        count = self.lib.llmc_test_words(self.handle, text, len(text), sizes.ctypes.data)
        ends = np.cumsum(sizes[:count])
        return [text[end - size : end] for end, size in zip(ends.tolist(), sizes.tolist(), strict=False)]

    @property
    def size(self) -> int:
        return self.lib.llmc_tokenizer_size(self.handle)

    def token(self, role: int) -> int:
        return self.lib.llmc_tokenizer_token(self.handle, role)

    def is_end(self, token: int) -> bool:
        return self.lib.llmc_tokenizer_is_end(self.handle, token)


@functools.cache
def compiled(path: Path) -> bytes:
    """The blob of a GGUF file's vocabulary."""
    with read_gguf(path, vocabulary_only=True) as checkpoint:
        return compile_tokenizer(checkpoint)
