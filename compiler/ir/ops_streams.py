"""Ops of models that carry several streams of rows through their layers, or rows of each token for each layer.

Notation as in ops.py.  AltUp: arXiv:2301.13310. Sparse activations: arXiv:2506.06644.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmc.ir.catalogue import Attrs, expect, op
from llmc.ir.types import DType, TensorType, f32


def _mix_rows(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    coefficients, base, *streams = inputs
    expect(bool(streams) and all(x == base for x in streams), "streams of one shape")
    expect(coefficients.shape[0] == base.shape[0], "a row of coefficients for each row")
    expect(0 <= attrs["first"] <= int(coefficients.shape[1]) - len(streams), "a coefficient for each stream")
    return (f32(*base.shape),)


def _match_magnitude(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, like = inputs
    expect(x == like and attrs["least"] > 0, "rows of one shape")
    return (f32(*x.shape),)


def _sparsify(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    expect(len(inputs[0].shape) == 2 and isinstance(attrs["deviations"], float), "rows, and a number of deviations")
    return (f32(*inputs[0].shape),)


def _known_ids(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    expect(inputs[0].dtype is DType.I32 and attrs["count"] > 0, "takes ids")
    return (inputs[0],)


def _scale_by_id(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, ids, factors = inputs
    expect(ids.dtype is DType.I32 and ids.shape == x.shape and len(factors.shape) == 1, "an id for each element")
    return (f32(*x.shape),)


@op(_mix_rows)
def mix_rows(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """coefficients f32[T,M], base and streams f32[T,C] each -> f32[T,C]: base + the sum over streams i of
    (coefficients[t, first + i] + plus) * stream i."""
    coefficients, base, *streams = inputs
    weights = coefficients[:, attrs["first"] :].astype(np.float64) + attrs.get("plus", 0.0)
    total = sum((weights[:, i, None] * x for i, x in enumerate(streams)), base.astype(np.float64))
    return (np.asarray(total, np.float32),)


@op(_match_magnitude, inplace={0: 0})
def match_magnitude(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x, like f32[T,C] -> each row of x times what makes its mean square that of `like`'s; its own counts as `least` at least."""
    x, like = (each.astype(np.float64) for each in inputs)
    mine, theirs = ((each * each).mean(-1, keepdims=True) for each in (x, like))
    return (np.asarray(x * np.sqrt(theirs / np.maximum(mine, attrs["least"])), np.float32),)


@op(_sparsify, inplace={0: 0})
def sparsify(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,F] -> max(x - cut, 0), where a row's cut is its mean plus `deviations` times its standard deviation."""
    x = inputs[0].astype(np.float64)
    cut = x.mean(-1, keepdims=True) + attrs["deviations"] * x.std(-1, keepdims=True)
    return (np.asarray(np.maximum(x - cut, 0.0), np.float32),)


@op(_scale_by_id, inplace={0: 0})
def scale_by_id(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,k], ids i32[T,k], factors f32[E] -> each element times the factor that its id has; ids are those of a router."""
    x, ids, factors = inputs
    return (x * factors[ids],)


@op(_known_ids)
def known_ids(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """ids i32[T] -> the same, 0 in the place of those from `count` on."""
    return (np.where(inputs[0] < attrs["count"], inputs[0], 0),)
