"""SentencePiece's precompiled_charsmap: what a text's characters become before it is cut into pieces.

The bytes are a u32 size, that many bytes of a double-array trie over UTF-8 (u32 units), and texts that end in a 0; a leaf of the
trie holds where its text begins. A unit has its label in bits 0-7, "a text ends below me" in bit 8, and in the other bits the
offset to its children, scaled by 256 where bit 9 is set; a leaf's unit has bit 31. Branches that are equal are stored once, so
the trie stays as it is: written out, the usual one (NFKC) has 225 000 keys. Kudo and Richardson, arXiv:1808.06226; the trie is
that of S. Yata, https://github.com/s-yata/darts-clone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmc.errors import MalformedFileError

MAX_BYTES = 1 << 24
LEAF = np.uint32(1 << 31)


@dataclass(frozen=True, eq=False)
class Charsmap:
    """units u32 [n]; texts: UTF-8, each ended by a 0. Every leaf holds where a text begins."""

    units: npt.NDArray[np.uint32]
    texts: bytes


def read_charsmap(raw: bytes, what: str) -> Charsmap:
    """The two parts. Raises MalformedFileError, whose text begins with `what`, for bytes that contradict themselves."""
    if not 8 <= len(raw) <= MAX_BYTES:
        raise MalformedFileError(f"{what} has {len(raw)} bytes, expected 8 to {MAX_BYTES}")
    (size,) = struct.unpack_from("<I", raw)
    if size % 4 or not 4 <= size <= len(raw) - 4:
        raise MalformedFileError(f"{what} says that its trie has {size} bytes, and has {len(raw)} in all")
    units, texts = np.frombuffer(raw, "<u4", size // 4, 4), raw[4 + size :]
    _check(units, texts, what)
    return Charsmap(units, texts)


def _check(units: npt.NDArray[np.uint32], texts: bytes, what: str) -> None:
    try:
        texts.decode()
    except UnicodeDecodeError:
        raise MalformedFileError(f"{what} holds texts that are not UTF-8") from None
    if texts[-1:] not in (b"", b"\0"):
        raise MalformedFileError(f"{what} ends inside a text")
    begins = np.concatenate(([True], np.frombuffer(texts, np.uint8) == 0))[: len(texts)]
    places = units[units >= LEAF] & ~LEAF
    if len(places) and (places.max() >= len(texts) or not begins[places].all()):
        raise MalformedFileError(f"{what} replaces by a text that it does not hold")
