"""Ops of encoders alone: what joins attention's scores by distance, and the mean of a text.

Notation as in ops.py. A step of an encoder holds whole sequences, each from position 0 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmc.ir.catalogue import Attrs, expect, op
from llmc.ir.types import DType, TensorType, f32


def _mean_rows(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, rows, positions = inputs
    expect(x.dtype is DType.F32 and positions.shape == x.shape[:1], "a position for each row")
    return (f32(*rows.shape, *x.shape[1:]),)


@op(_mean_rows)
def mean_rows(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], rows i32[R], positions i32[T] -> f32[R,C]: the mean of all rows of the sequence that each row belongs to."""
    x, rows, positions = inputs
    starts = np.flatnonzero(positions == 0)
    ends = np.append(starts[1:], len(x))
    of = np.searchsorted(starts, rows, side="right") - 1
    means = [x[starts[i] : ends[i]].astype(np.float64).mean(0) for i in of]
    return (np.array(means, np.float32).reshape(len(rows), x.shape[1]),)


def _bucket_bias(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (table,) = inputs
    expect(len(table.shape) == 2 and table.shape[0] == 2 * len(attrs["starts"]), "a row for each bucket before and after")
    expect(attrs["starts"][0] == 0 and list(attrs["starts"]) == sorted(attrs["starts"]), "buckets begin at 0 and ascend")
    return (f32(int(table.shape[1]), 2 * attrs["span"] - 1),)


@op(_bucket_bias)
def bucket_bias(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """table f32[2B,H] -> f32[H,2*span-1]: what joins the scores of head h for a key d - span + 1 positions after the query.

    A key n positions before the query is of the last bucket b with starts[b] <= n, one n positions after it of bucket B + b.
    T5, arXiv:1910.10683, 2.1.
    """
    table, starts = inputs[0].array(), np.array(attrs["starts"])
    distance = np.arange(2 * attrs["span"] - 1) - (attrs["span"] - 1)
    bucket = np.searchsorted(starts, np.abs(distance), side="right") - 1 + len(starts) * (distance > 0)
    return (np.ascontiguousarray(table[bucket].T, np.float32),)
