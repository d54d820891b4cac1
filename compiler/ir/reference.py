"""Numpy arithmetic behind the op catalogue: obvious, slow, float64 inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmc.ir.types import SCALE_COLUMNS, DType

Array = npt.NDArray[Any]


def matmul(x: Array, w: Array, bias: Array | None = None, scale: float = 1.0) -> Array:
    """x [..., K] @ w [N, K].T (+ bias), times scale."""
    y = x.astype(np.float64) @ w.astype(np.float64).T
    if bias is not None:
        y = y + bias
    return np.asarray(y * scale, np.float32)


def rms_norm(x: Array, w: Array, eps: float) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(wide / np.sqrt((wide * wide).mean(-1, keepdims=True) + eps) * w, np.float32)


def layer_norm(x: Array, w: Array, b: Array | None = None, *, eps: float) -> Array:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * w
    return np.asarray(scaled if b is None else scaled + b, np.float32)


def silu(x: Array) -> Array:
    wide = np.clip(x.astype(np.float64), -700, None)
    return np.asarray(wide / (1 + np.exp(-wide)), np.float32)


def clamped_silu_mul(gate: Array, up: Array) -> Array:
    """g sigmoid(1.702 g) (u + 1) of g = min(gate, 7), u = clamp(up, -7, 7).  arXiv:2508.10925."""
    g, u = np.minimum(gate.astype(np.float64), 7), np.clip(up.astype(np.float64), -7, 7)
    return np.asarray(g / (1 + np.exp(-np.clip(1.702 * g, -700, None))) * (u + 1), np.float32)


def gelu(x: Array) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(wide / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))), np.float32)


def relu2(x: Array) -> Array:
    """max(x, 0)^2.  arXiv:2109.08668."""
    return np.asarray(np.maximum(x.astype(np.float64), 0) ** 2, np.float32)


def xielu(x: Array, parameters: Array) -> Array:
    """p x^2 + b x from zero on, n (e^min(x, eps) - 1 - x) + b x below, of p, n, b, eps.  arXiv:2411.13010."""
    wide = x.astype(np.float64)
    p, n, b, eps = (float(value) for value in parameters)
    below = n * (np.expm1(np.minimum(wide, eps)) - wide)
    return np.asarray(np.where(wide < 0, below, p * wide * wide) + b * wide, np.float32)


def gelu_erf(x: Array) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(wide / 2 * (1 + np.vectorize(math.erf, otypes=[float])(wide / np.sqrt(2))), np.float32)


def quantize(x: Array, form: str = "q8") -> Array:
    """Values of the int8 codes: per 32 columns, or 256 for "q8_256", d = amax/127 and rint(x * (127/amax)), in float32 as the
    kernels do. What is in form "f32" stays as it is."""
    if form == "f32":
        return x
    groups = np.asarray(x, np.float32).reshape(*x.shape[:-1], -1, SCALE_COLUMNS[DType(form)])
    amax = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=amax > 0)
    codes = np.rint(groups * inverse).astype(np.float64)
    return np.asarray((codes * (amax / np.float32(127)).astype(np.float64)).reshape(x.shape))


def forms(y: Array, attrs: Mapping[str, Any]) -> tuple[Array, ...]:
    """`y` in each form of attrs["out"]."""
    return tuple(quantize(y, form) for form in attrs.get("out", "f32").split("+"))


def rope_table(positions: Array, freqs: Array, scale: float) -> Array:
    angle = (positions.astype(np.float32)[:, None] * freqs[None, :].astype(np.float32)).astype(np.float64)
    return np.concatenate([scale * np.cos(angle), scale * np.sin(angle)], -1).astype(np.float32)


def rope(x: Array, table: Array, heads: int, style: str) -> Array:
    """x [T, heads*D]; the first 2P features of each head rotate, table [T, 2P]."""
    pairs = table.shape[1] // 2
    cos, sin = table[:, None, :pairs], table[:, None, pairs:]
    y = x.reshape(len(x), heads, -1).copy()
    turn = y[..., : 2 * pairs]
    a, b = (turn[..., :pairs], turn[..., pairs:]) if style == "half" else (turn[..., 0::2], turn[..., 1::2])
    first, second = a * cos - b * sin, b * cos + a * sin
    if style == "half":
        y[..., : 2 * pairs] = np.concatenate([first, second], -1)
    else:
        y[..., 0 : 2 * pairs : 2], y[..., 1 : 2 * pairs : 2] = first, second
    return np.asarray(y.reshape(x.shape), np.float32)


def attention_scores(q: Array, keys: Array, heads: int, kv_heads: int, scale: float) -> Array:
    """q [T, H*D], keys [S, Hk*D] -> [T, H, S]."""
    q4 = q.reshape(len(q), kv_heads, heads // kv_heads, -1).astype(np.float64)
    k3 = keys.reshape(len(keys), kv_heads, -1).astype(np.float64)
    return np.asarray(np.einsum("tkgd,skd->tkgs", q4, k3).reshape(len(q), heads, len(keys)) * scale, np.float32)


def softcap(x: Array, cap: float) -> Array:
    """cap * tanh(x / cap).  arXiv:2408.00118."""
    return np.asarray(cap * np.tanh(x.astype(np.float64) / cap), np.float32)


def alibi(scores: Array, positions: Array, slopes: Array) -> Array:
    """scores [T, H, S] of keys 0..S-1, slopes [H]: less the slope for every position a key lies back.  arXiv:2108.12409."""
    back = positions.astype(np.float64)[:, None] - np.arange(scores.shape[-1])
    return np.asarray(scores - slopes.astype(np.float64)[:, None] * back[:, None, :])


def biased(scores: Array, positions: Array, bias: Array) -> Array:
    """scores [T, H, S] of keys 0..S-1, bias [H, 2*span-1] -> their sum; bias[h, d] is of keys d - span + 1 positions on."""
    distance = np.arange(scores.shape[-1])[None, :] - positions[:, None]
    return np.asarray(scores + bias.astype(np.float64)[:, distance + bias.shape[1] // 2].transpose(1, 0, 2))


def softmax_both(scores: Array, positions: Array, reach: int = 0) -> Array:
    """Softmax over all keys, or those at most `reach` positions away."""
    distance = np.arange(scores.shape[-1])[None, :] - positions[:, None]
    wide = scores.astype(np.float64)
    wide = np.where((np.abs(distance) > reach)[:, None, :], -np.inf, wide) if reach else wide
    power = np.exp(wide - wide.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True), np.float32)


def softmax_causal(
    scores: Array, positions: Array, window: int = 0, sinks: Array | None = None, chunked: bool = False
) -> Array:
    """Row of a token at position p: softmax over keys 0..p, or p-window+1..p where there is a window, zero elsewhere.

    sinks [H]: one more logit of each head, whose probability is left out of the result. chunked: windows do not move on with p,
    but lie one after the other.
    """
    keys, own = np.arange(scores.shape[-1])[None, None, :], positions[:, None, None]
    oldest = (own - own % window if chunked else own + 1 - window) if window else 0
    hidden = (keys > own) | (keys < oldest)
    wide = np.where(hidden, -np.inf, scores.astype(np.float64))
    sink = np.full((wide.shape[1], 1), -np.inf) if sinks is None else sinks.astype(np.float64)[:, None]
    top = np.maximum(wide.max(-1, keepdims=True), sink)
    e = np.exp(wide - top)
    return np.asarray(e / (e.sum(-1, keepdims=True) + np.exp(sink - top)), np.float32)


def attention_values(p: Array, values: Array, kv_heads: int) -> Array:
    """p [T, H, S], values [S, Hk*D] -> [T, H*D]."""
    p4 = p.reshape(len(p), kv_heads, -1, p.shape[-1]).astype(np.float64)
    v3 = values.reshape(len(values), kv_heads, -1).astype(np.float64)
    return np.asarray(np.einsum("tkgs,skd->tkgd", p4, v3).reshape(len(p), -1), np.float32)


def router(
    logits: Array,
    used: int,
    gate: str,
    normalize: bool,
    scale: float = 1.0,
    *,
    bias: Array | None = None,
    groups: Sequence[int] = (),
    jitter: float = 0.0,
) -> tuple[Array, Array]:
    """logits [T, E] -> ids i32 [T, used], weights f32 [T, used].

    bias [E]: joins the scores when experts are chosen. groups: (how many, how many are used, by how many of their best choices).
    """
    wide = logits.astype(np.float64)
    if gate == "sparsemixer":
        return _sparsemixer(wide, used, scale, jitter)
    e = np.exp(wide - wide.max(-1, keepdims=True))
    scores = e / e.sum(-1, keepdims=True) if gate == "softmax" else 1 / (1 + np.exp(-wide))
    choices = wide if bias is None and not groups else scores + (0.0 if bias is None else bias.astype(np.float64))
    choices = _of_best_groups(choices, *groups) if groups else choices
    ids = np.argsort(-choices, axis=-1, kind="stable")[:, :used]
    picked = np.take_along_axis(scores, ids, -1)
    total = picked.sum(-1, keepdims=True) + 1e-20 if normalize else 1.0
    return ids.astype(np.int32), np.asarray(picked / total * scale, np.float32)


def _of_best_groups(choices: Array, groups: int, used: int, best: int) -> Array:
    """choices [T, E], -inf outside the `used` groups whose `best` largest have the largest sum."""
    grouped = choices.reshape(len(choices), groups, -1)
    sums = np.sort(grouped, -1)[:, :, -best:].sum(-1)
    left = np.argsort(-sums, axis=-1, kind="stable")[:, used:]
    np.put_along_axis(grouped := grouped.copy(), left[:, :, None], -np.inf, 1)
    return np.asarray(grouped.reshape(choices.shape))


def _sparsemixer(logits: Array, used: int, scale: float, jitter: float) -> tuple[Array, Array]:
    """Slot by slot: the largest logit left, and its share among those left that are near it.  arXiv:2409.12136."""
    ids = np.argsort(-logits, axis=-1, kind="stable")[:, :used]
    weights, left = np.empty(ids.shape), logits.copy()
    for slot in range(used):
        own = np.take_along_axis(logits, ids[:, slot : slot + 1], -1)
        near = own - left <= 2 * jitter * np.maximum(np.abs(logits), own)
        weights[:, slot] = scale / np.where(near, np.exp(np.minimum(left - own, 0)), 0).sum(-1)
        np.put_along_axis(left, ids[:, slot : slot + 1], -np.inf, -1)
    return ids.astype(np.int32), weights.astype(np.float32)


FUNCTIONS = {"silu": silu, "gelu": gelu}


def experts(
    x: Array, ids: Array, weights: Array, matrices: Sequence[Array], forms: Sequence[str], function: str = "silu",
    weigh: str = "result",
) -> Array:  # fmt: skip
    """matrices: gate and up [E, F, C], down [E, C, F], perhaps their biases [E, F], [E, F], [E, C].

    forms: of x and of the gated product, "f32", "q8" or "q8_256"; function: "silu", "gelu" or "clamped_silu"; weigh: what is
    multiplied by the weights, "x" or the "result".
    """
    gate, up, down, *biases = matrices
    gate_bias, up_bias, down_bias = biases or [np.zeros((len(m), m.shape[1])) for m in matrices]
    outer, inner = forms
    y = np.zeros(x.shape, np.float64)
    for t, row in enumerate(quantize(x, outer)):
        for e, weight in zip(ids[t], weights[t], strict=True):
            before, weight = (weight, 1.0) if weigh == "x" else (1.0, weight)
            halves = matmul(row * before, gate[e], gate_bias[e]), matmul(row * before, up[e], up_bias[e])
            gated = clamped_silu_mul(*halves) if function == "clamped_silu" else FUNCTIONS[function](halves[0]) * halves[1]
            y[t] += np.float64(weight) * matmul(quantize(gated, inner), down[e], down_bias[e])
    return y.astype(np.float32)
