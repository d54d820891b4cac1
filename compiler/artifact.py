"""An artifact on disk: what runtime/include/llmc_artifact.h says in C, and manifest.json for people and `llmc inspect`.

    artifact.bin     magic, version, count; then name, size and SHA-256 of every other file, sorted by name
    manifest.json    the same sums, and everything else there is to know; not read at run time
    weights, tokenizer.bin    64 bytes of header (magic, version, size, id), then what they hold

Writers build a directory beside the final one and `publish` it. Nothing written depends on time, place or machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmc.errors import MalformedFileError, UsageError

INDEX_NAME = "artifact.bin"
MANIFEST_NAME = "manifest.json"
VOCABULARY_NAME = "tokenizer.bin"
WEIGHTS_NAME = "weights-tile16.bin"
PROGRAM_NAME = "run"
PLATFORM_LIBRARY = "x86_64-linux-gnu.so"

FORMAT_VERSION = 1
INDEX_MAGIC, WEIGHTS_MAGIC, VOCABULARY_MAGIC = b"LLMCINDX", b"LLMCWGTS", b"LLMCVOCB"
INDEX_HEADER = struct.Struct("<8sII")  # llmc_index_header: magic, version, count
INDEX_ENTRY = struct.Struct("<64sQ32s")  # llmc_index_entry: name, size, sha256
FILE_HEADER = struct.Struct("<8sIIQ32s8x")  # llmc_file_header: magic, version, 0, size, id
MAX_ENTRIES, MAX_NAME = 64, 63


@dataclass(frozen=True)
class File:
    """A file beside the library, as the library asks for it: size in bytes with its header, 32 bytes of identity."""

    name: str
    size: int
    id: bytes


@dataclass(frozen=True)
class Entry:
    """A file in the index: size in bytes, SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


def weights_header(size: int, identity: bytes) -> bytes:
    """The first 64 bytes of a weights file of `size` bytes."""
    return FILE_HEADER.pack(WEIGHTS_MAGIC, FORMAT_VERSION, 0, size, identity)


def write_vocabulary(folder: Path, blob: bytes) -> File:
    """Writes a compiled tokenizer into the artifact in `folder`; its identity is its SHA-256."""
    size, identity = FILE_HEADER.size + len(blob), hashlib.sha256(blob).digest()
    header = FILE_HEADER.pack(VOCABULARY_MAGIC, FORMAT_VERSION, 0, size, identity)
    (folder / VOCABULARY_NAME).write_bytes(header + blob)
    return File(VOCABULARY_NAME, size, identity)


def read_vocabulary(path: Path) -> bytes:
    """The compiled tokenizer of an artifact. Raises MalformedFileError."""
    data = (path / VOCABULARY_NAME).read_bytes()
    if len(data) < FILE_HEADER.size:
        raise MalformedFileError(f"{path / VOCABULARY_NAME}: truncated")
    magic, version, _, size, _ = FILE_HEADER.unpack_from(data)
    if (magic, version, size) != (VOCABULARY_MAGIC, FORMAT_VERSION, len(data)):
        raise MalformedFileError(f"{path / VOCABULARY_NAME}: not a compiled tokenizer, or truncated")
    return data[FILE_HEADER.size :]


def write_manifest(folder: Path, facts: Mapping[str, Any], *, known: Mapping[str, str] | None = None) -> None:
    """Completes the artifact in `folder`: manifest.json (facts, and sums of all files), then artifact.bin.

    known holds sums that need not be computed again, by file name, in hexadecimal.
    """
    made_here = (MANIFEST_NAME, INDEX_NAME)
    entries = [_entry(file, known or {}) for file in sorted(folder.iterdir()) if file.name not in made_here]
    files = {e.name: {"size": e.size, "sha256": e.sha256} for e in entries}
    manifest = {**facts, "format_version": FORMAT_VERSION, "files": files}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=True)
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="ascii")
    write_index(folder, [*entries, _entry(folder / MANIFEST_NAME, {})])


def _entry(file: Path, known: Mapping[str, str]) -> Entry:
    return Entry(file.name, file.stat().st_size, known.get(file.name) or digest(file))


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal; memory is bounded."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def write_index(folder: Path, entries: list[Entry]) -> None:
    """Writes artifact.bin."""
    assert 0 < len(entries) <= MAX_ENTRIES and all(len(e.name.encode()) <= MAX_NAME for e in entries)
    ordered = sorted(entries, key=lambda e: e.name.encode())
    rows = (INDEX_ENTRY.pack(e.name.encode(), e.size, bytes.fromhex(e.sha256)) for e in ordered)
    (folder / INDEX_NAME).write_bytes(INDEX_HEADER.pack(INDEX_MAGIC, FORMAT_VERSION, len(entries)) + b"".join(rows))


def read_index(path: Path) -> list[Entry]:
    """The files an artifact says it has. Raises MalformedFileError."""
    name = path / INDEX_NAME
    try:
        data = name.read_bytes()
    except OSError as error:
        raise MalformedFileError(f"{path}: not an llmc artifact: {INDEX_NAME}: {error.strerror}") from error
    if len(data) < INDEX_HEADER.size:
        raise MalformedFileError(f"{name}: truncated")
    magic, version, count = INDEX_HEADER.unpack_from(data)
    if magic != INDEX_MAGIC:
        raise MalformedFileError(f"{name}: not an llmc index")
    if version != FORMAT_VERSION:
        raise MalformedFileError(f"{name}: format version {version}; this llmc reads {FORMAT_VERSION}")
    if not 0 < count <= MAX_ENTRIES or len(data) != INDEX_HEADER.size + count * INDEX_ENTRY.size:
        raise MalformedFileError(f"{name}: truncated or altered")
    return [_read_entry(name, row) for row in INDEX_ENTRY.iter_unpack(data[INDEX_HEADER.size :])]


def _read_entry(index: Path, row: tuple[Any, ...]) -> Entry:
    name, zeros = bytes(row[0]).partition(b"\0")[::2]
    if not name or name.startswith(b".") or b"/" in name or not name.isascii() or zeros.strip(b"\0") or len(name) > MAX_NAME:
        raise MalformedFileError(f"{index}: an entry has no valid name")
    return Entry(name.decode("ascii"), row[1], bytes(row[2]).hex())


def read_manifest(path: Path) -> dict[str, Any]:
    """manifest.json of an artifact, after its size and SHA-256 have been checked. Raises MalformedFileError."""
    entry = next((e for e in read_index(path) if e.name == MANIFEST_NAME), None)
    if entry is None:
        raise MalformedFileError(f"{path / INDEX_NAME}: lists no {MANIFEST_NAME}")
    difference = _difference(path, entry)
    if difference:
        raise MalformedFileError(f"{path / MANIFEST_NAME}: {difference}")
    manifest: dict[str, Any] = json.loads((path / MANIFEST_NAME).read_bytes())
    return manifest


def verify(path: Path) -> list[str]:
    """Hashes every file of an artifact: one line for each that differs, is missing, or is there unlisted; none when it is whole.

    Raises MalformedFileError where the index itself makes no sense.
    """
    entries = read_index(path)
    lines = [f"{e.name}: {difference}" for e in entries if (difference := _difference(path, e))]
    listed = {INDEX_NAME, *(e.name for e in entries)}
    lines += [f"{file.name}: not part of the artifact" for file in sorted(path.iterdir()) if file.name not in listed]
    if not lines:
        lines += _compare(read_manifest(path), entries)
    return lines


def _difference(path: Path, entry: Entry) -> str | None:
    file = path / entry.name
    if not file.is_file():
        return "missing"
    size = file.stat().st_size
    if size != entry.size:
        return f"has {size} bytes instead of {entry.size}"
    return None if digest(file) == entry.sha256 else "its content has changed"


def _compare(manifest: Mapping[str, Any], entries: list[Entry]) -> list[str]:
    """The manifest lists every file but itself; both lists must agree."""
    index = {e.name: {"size": e.size, "sha256": e.sha256} for e in entries if e.name != MANIFEST_NAME}
    return [] if manifest.get("files") == index else [f"{MANIFEST_NAME}: its files are not those of {INDEX_NAME}"]


def publish(folder: Path, out: Path) -> None:
    """Moves the finished artifact `folder` to `out`, on the same file system, replacing an artifact that is there.

    Raises UsageError where `out` exists and is no artifact: then nothing is touched.
    """
    if out.exists() or out.is_symlink():
        if not (out.is_dir() and (out / INDEX_NAME).is_file()) and not (out.is_dir() and not any(out.iterdir())):
            raise UsageError(f"{out} exists and is not an artifact", hint="name another output")
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent)) / "old"
    try:
        with contextlib.suppress(FileNotFoundError):
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def make_executable(file: Path) -> None:
    """Read and execute for everyone, write for the owner, whatever the umask."""
    os.chmod(file, 0o755)
