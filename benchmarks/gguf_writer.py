"""Writes GGUF v3 files: metadata, tensor directory, then tensor bytes streamed in order. Only what make_model.py needs.

Format: ggml/docs/gguf.md. Little endian; tensor offsets are relative to the data section and aligned to 32 bytes.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5

Scalar = bool | int | float | str
Metadata = dict[str, Scalar | list[int] | list[str]]


@dataclass(frozen=True)
class TensorInfo:
    """shape is rows first, as numpy has it; GGUF stores it reversed. nbytes is the exact size of the data that follows."""

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    nbytes: int


def write(file: BinaryIO, metadata: Metadata, tensors: list[TensorInfo], data: Iterable[Iterator[memoryview | bytes]]) -> None:
    """Writes a whole file. `data` yields, for each tensor in order, its bytes in chunks; a wrong total is refused."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    offset = 0
    for t in tensors:
        header += _text(t.name) + struct.pack(f"<I{len(t.shape)}Q", len(t.shape), *reversed(t.shape))
        header += struct.pack("<IQ", t.ggml_type, offset)
        offset += _padded(t.nbytes)
    file.write(header.ljust(_padded(len(header)), b"\0"))
    for t, chunks in zip(tensors, data, strict=True):
        written = sum(file.write(chunk) for chunk in chunks)
        if written != t.nbytes:
            raise ValueError(f"{t.name}: {written} bytes written, {t.nbytes} declared")
        file.write(bytes(_padded(written) - written))


def _padded(n: int) -> int:
    return -(-n // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Scalar | list[int] | list[str]) -> bytes:
    """A type tag and the value; integers are u32, floats f32, arrays hold i32 or strings."""
    if isinstance(value, list):
        strings = [_text(v) for v in value if isinstance(v, str)]
        numbers = [struct.pack("<i", v) for v in value if isinstance(v, int)]
        return struct.pack("<IIQ", ARRAY, STRING if strings else I32, len(value)) + b"".join(strings or numbers)
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    return struct.pack("<If", F32, value) if isinstance(value, float) else struct.pack("<II", U32, value)
