"""Weights on their way into another format: decoded, quantised and packed a few rows at a time, and what that changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmc.errors import UnsupportedModelError
from llmc.ir.quant import Bytes, DenseFormat, Format, dequantize, values_of
from llmc.ir.quantize import encode, quantize
from llmc.ir.tiles import ROWS, pack_dense, pack_parts

CHUNK_WEIGHTS = 1 << 17  # at a time: what is computed on the way stays in the second-level cache
SUMS = 64  # side by side, so that one order of adding is every machine's


@dataclass(frozen=True)
class Change:
    """What a weight lost: sums over its numbers of (new - old)^2 and old^2."""

    source: Format
    format: Format
    error: float
    total: float

    @property
    def relative(self) -> float:
        """The root of the mean squared error over that of the mean square; 0 where all weights are 0."""
        return math.sqrt(self.error / self.total) if self.total else 0.0


@dataclass
class Changes:
    """By tensor, in the order of the file; a tensor whose parts lie apart is added up."""

    of: dict[str, Change] = field(default_factory=dict)

    def add(self, tensor: str, change: Change) -> None:
        old = self.of.get(tensor, Change(change.source, change.format, 0.0, 0.0))
        self.of[tensor] = Change(change.source, change.format, old.error + change.error, old.total + change.total)

    @property
    def relative(self) -> float:
        """Of all weights together."""
        return Change(*next((c.source, c.format) for c in self.of.values()), *self._sums()).relative if self.of else 0.0

    def _sums(self) -> tuple[float, float]:
        return math.fsum(c.error for c in self.of.values()), math.fsum(c.total for c in self.of.values())


def requantized(tensor: str, source: Format, fmt: Format, raw: Bytes, n: int, k: int, changes: Changes) -> Iterator[Bytes]:
    """The tiles of W[n, k] in `fmt`, in chunks, from its bytes in `source`; what changed is added to `changes`.

    Raises UnsupportedModelError, naming the tensor, where a weight is beyond what the format holds, or no number.
    """
    width = source.row_bytes(k)
    step = ROWS * max(1, CHUNK_WEIGHTS // (ROWS * k))
    for first in range(0, n, step):
        rows = min(step, n - first)
        old = dequantize(source, raw[first * width : (first + rows) * width])
        new, packed = _stored(fmt, old, rows, k)
        with np.errstate(all="ignore"):
            difference = new - old
            change = Change(source, fmt, _sum_of_squares(difference), _sum_of_squares(old))
        if not math.isfinite(change.error):
            what = f"tensor {tensor} holds numbers beyond what {fmt.name} can store, or none at all"
            raise UnsupportedModelError(what, hint="compile it in another format, bf16 for example")
        changes.add(tensor, change)
        yield packed


def _stored(fmt: Format, values: NDArray[np.float32], rows: int, k: int) -> tuple[NDArray[np.float32], Bytes]:
    """(what the weights are in `fmt`, their tiles)."""
    if isinstance(fmt, DenseFormat):
        raw = encode(fmt, values)
        return dequantize(fmt, raw), pack_dense(fmt, _whole_tiles(raw.reshape(rows, -1)))
    parts = quantize(fmt, values)
    return values_of(fmt, parts), pack_parts(fmt, parts, rows, k)


def _whole_tiles(rows: Bytes) -> Bytes:
    short = -len(rows) % ROWS
    return np.pad(rows, ((0, short), (0, 0))) if short else rows


def _sum_of_squares(values: NDArray[np.float32]) -> float:
    """In double precision, one addition after the other in SUMS places."""
    wide = np.pad(values, (0, -values.size % SUMS)).astype(np.float64).reshape(-1, SUMS)
    return math.fsum((wide * wide).sum(axis=0))
