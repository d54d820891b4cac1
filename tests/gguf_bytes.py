"""Writes GGUF byte by byte, so that a test can get any part of it wrong. `gguf.GGUFWriter` writes only what is right."""

import struct
from dataclasses import dataclass, field
from typing import Any

NUMBER = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, of: Any) -> bytes:
    """A value without its type. An array is (element type, elements)."""
    if kind == STRING:
        return string(of)
    if kind == ARRAY:
        element, items = of
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack("<" + NUMBER[kind], of)


def key(name: str | bytes, kind: int, of: Any) -> bytes:
    return string(name) + struct.pack("<I", kind) + value(kind, of)


@dataclass
class Info:
    """A tensor info; data is zeros unless given. dims are innermost first."""

    name: str | bytes = "w"
    dims: tuple[int, ...] = (32, 2)
    type: int = 0
    offset: int = 0

    def encode(self) -> bytes:
        dims = struct.pack(f"<I{len(self.dims)}Q", len(self.dims), *self.dims)
        return string(self.name) + dims + struct.pack("<IQ", self.type, self.offset)


@dataclass
class File:
    """The parts of a file; a count that is None is the true one."""

    magic: bytes = b"GGUF"
    version: bytes = struct.pack("<I", 3)
    keys: list[bytes] = field(default_factory=lambda: [key("general.architecture", STRING, "llama")])
    infos: list[Info] = field(default_factory=lambda: [Info()])
    tensor_count: int | None = None
    key_count: int | None = None
    alignment: int = 32
    data: bytes = bytes(256)

    def encode(self) -> bytes:
        tensors = len(self.infos) if self.tensor_count is None else self.tensor_count
        keys = len(self.keys) if self.key_count is None else self.key_count
        head = self.magic + self.version + struct.pack("<QQ", tensors, keys)
        head += b"".join(self.keys) + b"".join(info.encode() for info in self.infos)
        return head + bytes(-len(head) % self.alignment) + self.data
