"""The ops of recurrent layers: each token updates a state of fixed size, which the cache keeps between steps.

Notation as in ops.py, with N features of a state, K taps of a convolution, G groups. Every op takes the cache first and gives it
back last; `layer` and its own name are the key of its state, which starts as zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llmc.ir import recurrence
from llmc.ir.graph import Node
from llmc.ir.ops import Attrs, op
from llmc.ir.ops import _expect as expect
from llmc.ir.recurrence import Array
from llmc.ir.types import CACHE, TensorType

STATEFUL = ("causal_conv", "gated_conv")
"""Ops that keep a state."""

FUNCTIONS = ("", "silu")


def state_shape(node: Node) -> tuple[int, ...]:
    """f32 elements that a node of STATEFUL keeps for a sequence, as its kernel has them; rows are padded to 16."""
    weight = node.inputs[4 if node.op == "gated_conv" else 2].type
    channels, taps = map(int, weight.shape)
    return taps - 1, _padded(channels)


def state_bytes(node: Node) -> int:
    """Bytes of the state of a node, a multiple of 64."""
    return -(-4 * math.prod(state_shape(node)) // 64) * 64


def _padded(n: int) -> int:
    return -(-n // 16) * 16


# ---- shape rules ------------------------------------------------------------------------------------------------------------


def _conv(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, x, w, *bias = inputs
    expect(kv == CACHE, "takes the cache first")
    expect(attrs.get("function", "") in FUNCTIONS, f"function {attrs.get('function')}")
    expect(len(w.shape) == 2 and w.shape[0] == x.shape[-1], "taps for each column of x")
    expect(int(w.shape[1]) >= 2, "at least two taps")
    expect(len(bias) <= 1 and all(b.shape == w.shape[:1] for b in bias), "one bias per column")
    return x, CACHE


def _gated_conv(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, before, after, x, *rest = inputs
    expect(before.shape == after.shape == x.shape, "shapes differ")
    return _conv([kv, x, *rest], attrs)


# ---- references -------------------------------------------------------------------------------------------------------------


@op(_conv)
def causal_conv(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, x f32[T,C], w f32[C,K], optional b f32[C] -> f32[T,C], cache: each column convolved with its own taps.

    y[t] = function(b + sum over j of w[j] * x[t - K + 1 + j]), `function` being "" or "silu"; what lies before a sequence is 0.
    """
    kv, x, w, *bias = inputs
    y, cache = _convolved(kv, x, w, bias, attrs, "causal_conv")
    return (recurrence.silu(y) if attrs.get("function") else y), cache


@op(_gated_conv)
def gated_conv(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, before, after, x f32[T,C], w f32[C,K], optional b f32[C] -> after * causal_conv(before * x), cache.

    The short convolution of LFM2: https://huggingface.co/docs/transformers/model_doc/lfm2
    """
    kv, before, after, x, w, *bias = inputs
    y, cache = _convolved(kv, before * x, w, bias, attrs, "gated_conv")
    return after * y, cache


def _convolved(kv: Any, x: Array, w: Any, bias: Sequence[Array], attrs: Attrs, name: str) -> tuple[Array, Any]:
    taps = w.array().reshape(x.shape[1], -1)
    before = kv.state((name, attrs["layer"]), (taps.shape[1] - 1, x.shape[1]))
    y, after = recurrence.causal_conv(before, x, taps, bias[0] if bias else None)
    return y, kv.with_state((name, attrs["layer"]), after)
