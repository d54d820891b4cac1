"""Opens a GGUF model: one file, or the parts NAME-00001-of-0000N.gguf ... of a split one, which must belong together.

Reference: ggml/docs/gguf.md; the keys split.no, split.count, split.tensors.count are llama.cpp's (tools/gguf-split).
"""

from __future__ import annotations

import re
from pathlib import Path

from llmc.errors import MalformedFileError
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.gguf_file import Part, read_part

PART_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def read_gguf(path: Path, *, vocabulary_only: bool = False) -> Checkpoint:
    """Opens a GGUF file, or all parts of a split one from its first part.

    With vocabulary_only, keys are read and tensors are not: `tensors` is empty, whatever the file holds or lacks.
    Raises MalformedFileError where the file contradicts its format, UnsupportedModelError for a version, byte order or tensor
    type that llmc does not read, UsageError if the file cannot be opened. Messages name the key or the tensor.
    """
    first = read_part(path, 0, vocabulary_only)
    if vocabulary_only:
        return Checkpoint([path], [first.data], first.keys, {})
    parts = [first, *_other_parts(first)]
    tensors = _merge(parts)
    return Checkpoint([p.path for p in parts], [p.data for p in parts], first.keys, tensors)


def _merge(parts: list[Part]) -> dict[str, Tensor]:
    """The tensors of all parts by name."""
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for t in part.tensors:
            if t.name in tensors:
                raise MalformedFileError(f"{part.path.name}: tensor {t.name} is there twice")
            tensors[t.name] = t
    first = parts[0]
    if not tensors:
        raise MalformedFileError(f"{first.path.name}: tensor count 0: the file holds no weights", hint="is it a vocabulary?")
    expected = _split_key(first, "split.tensors.count", len(tensors))
    if expected != len(tensors):
        raise MalformedFileError(f"{first.path.name}: key split.tensors.count is {expected}, but the parts hold {len(tensors)}")
    return tensors


def _other_parts(first: Part) -> list[Part]:
    """Reads parts 2 to N of a split model: NAME-00002-of-0000N.gguf beside the first."""
    count = _split_key(first, "split.count", 1)
    name = PART_NAME.fullmatch(first.path.name)
    if count <= 1:
        if name and int(name["count"]) > 1:
            raise MalformedFileError(f"{first.path.name}: the name says {int(name['count'])} parts, key split.count says {count}")
        return []
    if not name or int(name["count"]) != count:
        raise MalformedFileError(
            f"{first.path.name}: key split.count is {count}, but the file is not called NAME-00001-of-{count:05}.gguf"
        )
    if int(name["number"]) != 1 or _split_key(first, "split.no", 0) != 0:
        raise MalformedFileError(
            f"{first.path.name}: not the first part of a split model (key split.no)",
            hint=f"open {name['stem']}-00001-of-{count:05}.gguf",
        )
    parts = []
    for number in range(2, count + 1):
        path = first.path.with_name(f"{name['stem']}-{number:05}-of-{count:05}.gguf")
        if not path.is_file():
            raise MalformedFileError(f"{first.path.name}: key split.count is {count}, but part {path.name} is missing")
        parts.append(_read_other_part(first, path, number - 1, count))
    return parts


def _read_other_part(first: Part, path: Path, number: int, count: int) -> Part:
    """Reads part `number`, counted from 0, and compares what it says of the whole with what the first part says."""
    part = read_part(path, number, vocabulary_only=False)
    whole = _split_key(first, "split.tensors.count", 0)
    for key, expected in (("split.no", number), ("split.count", count), ("split.tensors.count", whole)):
        if _split_key(part, key, 0) != expected:
            raise MalformedFileError(f"{path.name}: part of another model: key {key} is not {expected}")
    for key in ("general.architecture", "general.name"):
        if key in part.keys and _plain(part, key) != _plain(first, key):
            raise MalformedFileError(f"{path.name}: part of another model: key {key} differs from {first.path.name}")
    return part


def _plain(part: Part, key: str) -> str | None:
    value = part.keys.get(key)
    return value if isinstance(value, str) else None


def _split_key(part: Part, key: str, default: int) -> int:
    """A key that counts parts or tensors, not negative."""
    value = part.keys.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedFileError(f"{part.path.name}: key {key} is not a count")
    return value
