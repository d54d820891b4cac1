"""Mixtures of experts that are no gated networks. Notation as in ops.py, with E experts, k of them for a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmc.ir import reference as ref
from llmc.ir.catalogue import Attrs, expect, op
from llmc.ir.types import DType, TensorType

FUNCTIONS = {"relu2": ref.relu2, "gelu": ref.gelu, "silu": ref.silu}


def _ungated_experts(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, ids, weights, up, down = inputs
    experts, intermediate, hidden = up.shape
    expect(up.is_weight_format and down.is_weight_format, "takes two weights")
    expect(attrs["function"] in FUNCTIONS, f"function {attrs['function']}")
    expect(down.shape == (experts, hidden, intermediate), "the shapes of the experts differ")
    expect(ids.dtype is DType.I32 and ids.shape == weights.shape, "an expert id for each weight")
    expect(x.shape == (ids.shape[0], hidden), f"{x.shape} activations for experts of {hidden} columns")
    return (x,)


@op(_ungated_experts)
def ungated_experts(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], ids i32[T,k], weights f32[T,k], up fmt[E,F,C], down fmt[E,C,F] -> f32[T,C].

    Row t is the sum over slots j = 0, 1, ... of weights[t,j] * down(function(up(x))) of expert ids[t,j]. `forms` as of `experts`.
    """
    x, ids, weights, up, down = inputs
    outer, inner = attrs.get("forms", ("f32", "f32"))
    first, last, function = up.array(), down.array(), FUNCTIONS[attrs["function"]]
    y = np.zeros(x.shape, np.float64)
    for t, row in enumerate(ref.quantize(x, outer)):
        for e, weight in zip(ids[t], weights[t], strict=True):
            middle = ref.quantize(function(ref.matmul(row, first[e])), inner)
            y[t] += np.float64(weight) * ref.matmul(middle, last[e])
    return (y.astype(np.float32),)
