"""The weights file: where each tensor lies, and the one streamed pass that writes it.

    header (64 bytes) | vectors as f32, their columns one by one or their rows, and indices as i32, each padded to 16 elements |
    matrices in row tiles, each at a multiple of 64 KiB

Matrices stand in the order the step reads them, so that a cold start reads the file forwards.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from llmc.codegen.requantize import Changes, requantized
from llmc.ir.graph import Graph, Value
from llmc.ir.quant import dequantize
from llmc.ir.tiles import pack, packed_bytes
from llmc.ir.types import DType, Format

HEADER_BYTES = 64
VECTOR_ALIGN = 64
MATRIX_ALIGN = 65536
PIECE_BYTES = 1 << 21  # a huge page
LAYOUT = "tile16"
ELEMENTS = {"vector": "<f4", "columns": "<f4", "indices": "<i4"}  # of the layouts that are rows of plain numbers

Bytes = npt.NDArray[np.uint8]
Read = Callable[[str], Iterable[Bytes]]


@dataclass(frozen=True)
class Region:
    """One weight in the file: a tensor of the checkpoint, or its `rows` [lo, hi). `name` is the graph's.

    `offset` and `nbytes` in bytes; layout "vector", "columns", "indices" or "tile16".
    """

    name: str
    tensor: str
    rows: tuple[int, int] | None
    format: Format
    shape: tuple[int, ...]
    layout: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class WeightFile:
    """All regions, ascending; `size` is the file's."""

    regions: tuple[Region, ...]
    size: int

    def offset(self, value: Value) -> int:
        """Bytes from the start of the file to the tensor of a weight value."""
        return self._by_name[value.name].offset

    def end(self, value: Value) -> int:
        """Bytes from the start of the file to the end of the tensor."""
        region = self._by_name[value.name]
        return region.offset + region.nbytes

    @cached_property
    def _by_name(self) -> dict[str, Region]:
        return {region.name: region for region in self.regions}

    def identity(self, source: str) -> bytes:
        """32 bytes that stand for the content: the source's SHA-256 and how it is laid out here."""
        layout = [(r.tensor, r.rows, r.format.name, r.shape, r.layout, r.offset, r.nbytes) for r in self.regions]
        return hashlib.sha256(json.dumps([source, LAYOUT, layout]).encode()).digest()


def place(graph: Graph) -> WeightFile:
    """Gives every weight of the graph its region: vectors and indices first, then matrices in order of first use."""
    order: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for value in node.inputs:
            order.setdefault(value.name, i)
    nodes = sorted(graph.of_kind("weight"), key=lambda n: (n.attrs["layout"] == "tile16", order[n.output.name]))
    regions: list[Region] = []
    end = HEADER_BYTES
    for node in nodes:
        value, layout = node.output, node.attrs["layout"]
        fmt = value.type.dtype
        assert not isinstance(fmt, DType)
        shape = tuple(int(d) for d in value.type.shape)
        offset = _align(end, MATRIX_ALIGN if layout == "tile16" else VECTOR_ALIGN)
        tensor, rows = node.attrs["tensor"], node.attrs.get("rows")
        regions.append(Region(value.name, tensor, rows, fmt, shape, layout, offset, _packed_bytes(fmt, shape, layout)))
        end = offset + regions[-1].nbytes
    return WeightFile(tuple(regions), _align(end, VECTOR_ALIGN))


def _packed_bytes(fmt: Format, shape: tuple[int, ...], layout: str) -> int:
    if layout in ELEMENTS:
        rows, columns = _rows(shape, layout)
        return 4 * rows * _align(columns, 16)
    return math.prod(shape[:-2]) * packed_bytes(fmt, *shape[-2:])


def _rows(shape: tuple[int, ...], layout: str) -> tuple[int, int]:
    """Rows and columns as they are stored: "columns" has each column [N] of a matrix [N, K] in a row."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    return (columns, rows) if layout == "columns" else (rows, columns)


def _align(n: int, to: int) -> int:
    return -(-n // to) * to


def write(
    file: WeightFile,
    path: Path,
    header: bytes,
    read: Read,
    release: Callable[[str], None],
    progress: Callable[[int], None],
    stored: Callable[[str], Format],
) -> tuple[str, Changes]:
    """Writes the file tensor by tensor; memory is bounded by a few row tiles. Returns its SHA-256, hexadecimal, and what weights
    lost that the checkpoint has in another format.

    header: the 64 bytes at the front. read gives a tensor's stored bytes in pieces of whole matrices, `stored` their format,
    release says they are done with; progress hears how many bytes are written.
    """
    changes = Changes()
    with path.open("wb", buffering=0) as raw:
        out = Pieces(raw)
        out.put(header)
        at = HEADER_BYTES
        for region in file.regions:
            out.put(bytes(region.offset - at))
            for piece in read(region.tensor):
                source = stored(region.tensor)
                for chunk in _pack(region, source, _stored(region, source, piece), changes):
                    out.put(chunk.data)
            release(region.tensor)
            at = region.offset + region.nbytes
            progress(at)
        out.put(bytes(file.size - at))
        return out.finish(), changes


class Sink(Protocol):
    """A file without a buffer: a write may take less than it is given."""

    def write(self, data: memoryview, /) -> int | None: ...


class Pieces:
    """A stream cut into writes of 2 MiB at multiples of 2 MiB, and its digest.

    The system then keeps the file in huge pages where its file system can, and maps it with those: reading the mapped 1B model
    for the first time takes 73 ms instead of 168.
    """

    def __init__(self, file: Sink) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.piece, self.filled = memoryview(bytearray(PIECE_BYTES)), 0

    def put(self, data: bytes | memoryview) -> None:
        rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
        while len(rest):
            n = min(len(rest), PIECE_BYTES - self.filled)
            self.piece[self.filled : self.filled + n] = rest[:n]
            self.filled, rest = self.filled + n, rest[n:]
            if self.filled == PIECE_BYTES:
                self._flush()

    def finish(self) -> str:
        """Writes what is left; the SHA-256 of all, hexadecimal."""
        self._flush()
        return self.digest.hexdigest()

    def _flush(self) -> None:
        whole, done = self.piece[: self.filled], 0
        self.digest.update(whole)
        while done < self.filled:  # a full disk raises
            done += self.file.write(whole[done:]) or 0
        self.filled = 0


def _stored(region: Region, source: Format, raw: Bytes) -> Bytes:
    """The bytes of the region's rows, of those of the whole tensor."""
    if region.rows is None:
        return raw
    per_row = source.row_bytes(math.prod(region.shape[1:]))
    return raw[region.rows[0] * per_row : region.rows[1] * per_row]


def _pack(region: Region, source: Format, raw: Bytes, changes: Changes) -> Iterator[Bytes]:
    if region.layout in ELEMENTS:
        rows, columns = _rows(region.shape, region.layout)
        elements = raw.view("<i4") if region.layout == "indices" else dequantize(source, raw)
        by_row = elements.reshape(columns, rows).T if region.layout == "columns" else elements.reshape(-1, columns)
        vectors = np.zeros((len(by_row), _align(columns, 16)), ELEMENTS[region.layout])
        vectors[:, :columns] = by_row
        yield vectors.reshape(-1).view(np.uint8)
    else:
        n, k = region.shape[-2:]
        for matrix in raw.reshape(-1, n * source.row_bytes(k)):  # experts one after the other
            if source == region.format:
                yield from pack(region.format, matrix, n, k)
            else:
                yield from requantized(region.tensor, source, region.format, matrix, n, k, changes)
