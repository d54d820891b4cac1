"""The ops of recurrent layers: each token updates a state of fixed size, which the cache keeps between steps.

Notation as in ops.py, with N features of a state, K taps of a convolution, G groups. Every op takes the cache first and gives it
back last; `layer` and its own name are the key of its state, which starts as zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmc.ir import recurrence
from llmc.ir.catalogue import Attrs, expect, in_forms, op
from llmc.ir.graph import Node
from llmc.ir.recurrence import Array
from llmc.ir.reference import forms
from llmc.ir.types import CACHE, TensorType, f32

STATEFUL = ("causal_conv", "gated_conv", "selective_scan", "ssd", "delta_rule")
"""Ops that keep a state."""

FUNCTIONS = ("", "silu")
KEY_ORDERS = ("grouped", "tiled")
GATES = ("before", "after")


def state_shape(node: Node) -> tuple[int, ...]:
    """f32 elements that a node of STATEFUL keeps for a sequence, as its kernel has them; rows are padded to 16."""
    a = node.attrs
    if node.op == "ssd":
        return a["heads"], _padded(a["head_dim"]), a["state"]
    if node.op == "delta_rule":
        return a["heads"], _padded(a["value_dim"]), a["key_dim"]
    if node.op == "selective_scan":
        channels, features = map(int, node.inputs[5].type.shape)
        return _padded(channels), features
    channels, taps = map(int, node.inputs[4 if node.op == "gated_conv" else 2].type.shape)
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


def _selective_scan(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, x, dt, b, c, a, d = inputs
    expect(kv == CACHE and dt == x and b == c, "takes the cache, x and dt of one shape, B and C of one shape")
    expect(a.shape == (x.shape[1], b.shape[1]) and d.shape == x.shape[1:], "A for each channel and feature, D for each channel")
    return x, CACHE


def _ssd(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, x, dt, *vectors = inputs
    heads, head_dim, groups = attrs["heads"], attrs["head_dim"], attrs["groups"]
    expect(kv == CACHE and heads % groups == 0, f"{heads} heads in {groups} groups")
    expect(x.shape[1] == heads * head_dim + 2 * groups * attrs["state"], f"{x.shape[1]} columns for x, B and C")
    expect(dt.shape[1] == heads and [v.shape for v in vectors] == [(heads,)] * 3, "dt, its bias, A and D for each head")
    return f32(x.shape[0], heads * head_dim), CACHE


def _delta_rule(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, x, dt, beta, *vectors = inputs
    heads, key_heads = attrs["heads"], attrs["key_heads"]
    expect(kv == CACHE and heads % key_heads == 0, f"{heads} heads over {key_heads} key heads")
    expect(attrs["key_order"] in KEY_ORDERS, f"key_order {attrs['key_order']}")
    columns = 2 * key_heads * attrs["key_dim"] + heads * attrs["value_dim"]
    expect(x.shape[1] == columns, f"{x.shape[1]} columns for queries, keys and values")
    expect(dt == beta and dt.shape[1] == heads, "a decay and a step for each head")
    expect([v.shape for v in vectors] == [(heads,)] * 2, "a bias and A for each head")
    return f32(x.shape[0], heads * attrs["value_dim"]), CACHE


def _gated_norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, z, w = inputs
    expect(x == z and attrs["gate"] in GATES, f"gate {attrs['gate']}")
    size = int(x.shape[-1]) // attrs["groups"]
    expect(x.shape[-1] == size * attrs["groups"], "groups of one size")
    expect(w.shape in ((size,), x.shape[-1:]), "a weight for each column, or for each of a group")
    return (x,)


def _sigmoid_mul(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    gate, x = inputs
    expect(gate == x, "shapes differ")
    return in_forms([x], attrs)


def _slice_columns(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (x,) = inputs
    last = attrs["start"] + (attrs["count"] - 1) * attrs["stride"] + attrs["width"]
    expect(attrs["start"] >= 0 and last <= int(x.shape[1]), f"columns up to {last} of {x.shape[1]}")
    return (f32(x.shape[0], attrs["count"] * attrs["width"]),)


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


@op(_selective_scan)
def selective_scan(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, x, dt f32[T,C], b, c f32[T,N], a fmt[C,N], d f32[C] -> f32[T,C], cache.  Mamba, arXiv:2312.00752, 3.3.

    With dt = softplus(dt): s = exp(dt a) s + dt x b for each channel and feature, y = sum over features of s c, plus d x.
    """
    kv, x, dt, b, c, a, d = inputs
    key, decay = ("selective_scan", attrs["layer"]), a.array()
    y, state = recurrence.selective_scan(kv.state(key, decay.shape), x, dt, b, c, decay, d)
    return y, kv.with_state(key, state)


@op(_ssd)
def ssd(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, x f32[T,H*D+2*G*N], dt f32[T,H], its bias, a, d [H] -> f32[T,H*D], cache.  Mamba-2, arXiv:2405.21060.

    A row of x holds x of all heads, then B, then C of all groups; heads / groups heads in a row share B and C. With
    dt = softplus(dt + bias), clamped to dt_min .. dt_max: s = exp(dt a) s + dt x b, y = s c + d x for each head.
    """
    kv, x, dt, *vectors = inputs
    key, shape = ("ssd", attrs["layer"]), (attrs["heads"], attrs["head_dim"], attrs["state"])
    bias, a, d = map(elements, vectors)
    y, state = recurrence.ssd(kv.state(key, shape), x, dt, bias, a, d, attrs["groups"], (attrs["dt_min"], attrs["dt_max"]))
    return y, kv.with_state(key, state)


@op(_delta_rule)
def delta_rule(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, x f32[T,2*Hk*Dk+H*Dv], dt, beta f32[T,H], bias of dt, a [H] -> f32[T,H*Dv], cache.  arXiv:2412.06464.

    A row of x holds queries and keys of key_heads heads and values of all. Queries and keys are divided by their length, queries
    also by sqrt(Dk). s = exp(a softplus(dt + bias)) s; s += k (v - s k) sigmoid(beta); y = s q. Head h uses key head
    h / (H / Hk) if key_order is "grouped", h mod Hk if it is "tiled".
    """
    kv, x, dt, beta, *vectors = inputs
    key, shape = ("delta_rule", attrs["layer"]), (attrs["heads"], attrs["value_dim"], attrs["key_dim"])
    bias, a = map(elements, vectors)
    tiled = attrs["key_order"] == "tiled"
    y, state = recurrence.delta_rule(kv.state(key, shape), x, dt, beta, bias, a, attrs["key_heads"], tiled)
    return y, kv.with_state(key, state)


@op(_gated_norm, inplace={0: 0})
def gated_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x, z f32[T,C], w [C] or [C/groups] -> f32[T,C]: rms_norm of each group of columns, times w, and times silu(z): "before" the
    norm or "after" it."""
    x, z, w = inputs
    gate = recurrence.silu(z)
    heads = (x * gate if attrs["gate"] == "before" else x).reshape(len(x), attrs["groups"], -1).astype(np.float64)
    normed = heads / np.sqrt((heads * heads).mean(-1, keepdims=True) + attrs["eps"])
    y = (normed * elements(w).reshape(-1, heads.shape[-1])).reshape(x.shape)
    return (np.asarray(y * gate if attrs["gate"] == "after" else y, np.float32),)


@op(_sigmoid_mul)
def sigmoid_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """gate, x f32[T,C] -> sigmoid(gate) * x in the forms of `out`: the output gate of some attention layers."""
    return forms(np.asarray(recurrence.sigmoid(inputs[0]) * inputs[1], np.float32), attrs)


@op(_slice_columns)
def slice_columns(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C] -> f32[T,count*width]: `count` pieces of `width` columns, the first at `start`, each `stride` after the last."""
    picked = [range(attrs["start"] + i * attrs["stride"], attrs["start"] + i * attrs["stride"] + attrs["width"])
              for i in range(attrs["count"])]  # fmt: skip
    return (inputs[0][:, np.concatenate(picked).astype(np.int64)],)


def elements(w: Any) -> Array:
    """A vector, whether the checkpoint has it as one or as a matrix of one column."""
    return np.asarray(w if isinstance(w, np.ndarray) else w.array().reshape(-1))
