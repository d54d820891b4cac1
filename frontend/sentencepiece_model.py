"""Reads tokenizer.model, SentencePiece's protocol buffer: pieces with scores and types, and how texts are prepared.

Reference: https://github.com/google/sentencepiece, src/sentencepiece_model.proto. Of protocol buffers only what it uses is read:
varints, and fields of a given length or of 4 or 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import map_file, quoted
from llmc.frontend.tokenizer_charsmap import Charsmap, read_charsmap
from llmc.frontend.tokenizer_vocabulary import BY_TYPE, MAX_TOKEN_BYTES, MAX_TOKENS, byte_of

NAME: Final = "tokenizer.model"
MAX_BYTES: Final = 64 << 20
VARINT, EIGHT, SIZED, FOUR = 0, 1, 2, 5
UNIGRAM, BPE = 1, 2  # TrainerSpec.model_type
MODEL_TYPES: Final = {1: "Unigram", 2: "BPE", 3: "word", 4: "char"}
BYTE: Final = 6  # SentencePiece.type

Fields = dict[int, int | bytes]


@dataclass(frozen=True)
class Piece:
    """type is 1 to 6, numbered as GGUF's token types."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class SentencePieceModel:
    """kind: UNIGRAM or BPE. merge_spaces: runs of spaces become one, none stays at the ends."""

    kind: int
    pieces: tuple[Piece, ...]
    charsmap: Charsmap | None
    add_space_prefix: bool
    merge_spaces: bool
    byte_fallback: bool
    unknown: int
    bos: int
    eos: int


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Reads a Unigram or BPE model. Raises MalformedFileError for a file that is none, UnsupportedModelError for other kinds."""
    with map_file(path) as data:
        if len(data) > MAX_BYTES:
            raise MalformedFileError(f"{NAME}: the file has {len(data)} bytes, more than {MAX_BYTES}")
        fields = list(_fields(data[:], "the model"))
    pieces = tuple(_piece(value, i) for i, value in enumerate(v for n, v in fields if n == 1))
    if not 0 < len(pieces) <= MAX_TOKENS:
        raise MalformedFileError(f"{NAME}: {len(pieces)} pieces, expected 1 to {MAX_TOKENS}")
    last = {number: value for number, value in fields if number in (2, 3)}
    trainer, normalizer = _message(last.get(2, b""), "trainer_spec"), _message(last.get(3, b""), "normalizer_spec")
    _check(trainer, normalizer)
    unknown, bos, eos = (_id(trainer.get(number, default)) for default, number in enumerate((40, 41, 42)))
    kind = trainer.get(3, UNIGRAM)
    assert isinstance(kind, int)
    return SentencePieceModel(
        kind, pieces, _charsmap(normalizer.get(2, b"")), add_space_prefix=bool(normalizer.get(3, 1)),
        merge_spaces=bool(normalizer.get(4, 1)), byte_fallback=bool(trainer.get(35, 0)), unknown=unknown, bos=bos, eos=eos,
    )  # fmt: skip


def _charsmap(raw: int | bytes) -> Charsmap | None:
    what = f"{NAME}: normalizer_spec.precompiled_charsmap"
    if not isinstance(raw, bytes):
        raise MalformedFileError(f"{what} is a number")
    return read_charsmap(raw, what) if raw else None


def _check(trainer: Fields, normalizer: Fields) -> None:
    kind = trainer.get(3, UNIGRAM)
    if kind not in (UNIGRAM, BPE):
        name = MODEL_TYPES.get(kind, "unknown") if isinstance(kind, int) else "unknown"
        raise UnsupportedModelError(f"{NAME}: trainer_spec.model_type is {name}; llmc compiles Unigram and BPE")
    if trainer.get(24, 0):
        raise UnsupportedModelError(f"{NAME}: trainer_spec.treat_whitespace_as_suffix is set, which llmc cannot compile")
    if not normalizer.get(5, 1):
        raise UnsupportedModelError(f"{NAME}: normalizer_spec.escape_whitespaces is not set, which llmc cannot compile")


def _piece(value: int | bytes, number: int) -> Piece:
    what = f"piece {number}"
    fields = _message(value, what)
    raw, score, kind = fields.get(1, b""), fields.get(2, bytes(4)), fields.get(3, 1)
    if not isinstance(raw, bytes) or not raw or len(raw) > MAX_TOKEN_BYTES:
        raise MalformedFileError(f"{NAME}: {what} has no text of 1 to {MAX_TOKEN_BYTES} bytes")
    if not isinstance(score, bytes) or not isinstance(kind, int) or not 1 <= kind < len(BY_TYPE):
        raise MalformedFileError(f"{NAME}: {what} has no score or no type from 1 to {len(BY_TYPE) - 1}")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise MalformedFileError(f"{NAME}: {what} is not UTF-8") from None
    if kind == BYTE and byte_of(text) is None:
        raise MalformedFileError(f"{NAME}: {what} is the byte token {quoted(text)}, expected <0x00> to <0xFF>")
    value_of: float = struct.unpack("<f", score)[0]
    if value_of != value_of:
        raise MalformedFileError(f"{NAME}: {what} has the score NaN")
    return Piece(text, value_of, kind)


def _id(value: int | bytes) -> int:
    """An id, -1 for none: a negative int32 is a varint of 64 bits."""
    if not isinstance(value, int):
        raise MalformedFileError(f"{NAME}: trainer_spec holds an id that is no number")
    return value - (1 << 64) if value >> 63 else value


def _message(value: int | bytes, what: str) -> Fields:
    """The last value of every field of a message inside another."""
    if not isinstance(value, bytes):
        raise MalformedFileError(f"{NAME}: {what} is no message")
    return dict(_fields(value, what))


def _fields(data: bytes, what: str) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) in order: varints as numbers, all others as bytes."""
    at, size = 0, len(data)
    while at < size:
        key, at = _varint(data, at, what)
        kind = key & 7
        if kind == VARINT:
            number, at = _varint(data, at, what)
            yield key >> 3, number
            continue
        if kind == SIZED:
            length, at = _varint(data, at, what)
        elif kind in (EIGHT, FOUR):
            length = 8 if kind == EIGHT else 4
        else:
            raise MalformedFileError(f"{NAME}: {what} holds wire type {kind} at byte {at}: not a SentencePiece model")
        if length > size - at:
            raise MalformedFileError(f"{NAME}: truncated: {what} needs {length} bytes at {at} and has {size}")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int, what: str) -> tuple[int, int]:
    """(number, where it ends): seven bits a byte, the lowest first."""
    number = 0
    for i in range(10):
        if at + i >= len(data):
            raise MalformedFileError(f"{NAME}: truncated: {what} ends inside a number")
        number |= (data[at + i] & 0x7F) << 7 * i
        if not data[at + i] & 0x80:
            return number & ((1 << 64) - 1), at + i + 1
    raise MalformedFileError(f"{NAME}: {what} holds a number of more than 10 bytes at {at}")
