"""The ops of multi-head latent attention in its absorbed form: keys and values are one vector per token, shared by all heads.

Notation as in ops.py, with C the features of a value (the latent) and D those of a key (latent, rotated features, zeros up to a
multiple of 16).  DeepSeek-V2, arXiv:2405.04434, 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmc.ir import reference as ref
from llmc.ir.catalogue import Attrs, expect, op
from llmc.ir.types import CACHE, DType, TensorType, f32

PADDING = 16  # features of a key are a multiple of it


def _head_linear(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, weight, *tail = inputs
    heads, n, k = map(int, weight.shape)
    expect(weight.is_weight_format, "the second operand is a weight")
    expect(x.shape[-1] == heads * k, f"{x.shape[-1]} columns for {heads} heads of {k}")
    expect(all(int(t.shape[-1]) % heads == 0 for t in tail), "the tail has a part for each head")
    width = attrs["width"]
    expect(width >= n + sum(int(t.shape[-1]) // heads for t in tail), f"{width} columns of a head cannot hold the result")
    return (f32(*x.shape[:-1], heads * width),)


def _latent_append(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, latent, rotated = inputs
    expect(kv == CACHE and latent.dtype is DType.F32 and latent.shape[0] == rotated.shape[0], "takes the cache and rows of f32")
    expect(int(latent.shape[-1]) + int(rotated.shape[-1]) <= attrs["head_dim"], "more features than a key has")
    expect(attrs["kv_heads"] == 1 and attrs["head_dim"] % PADDING == 0, "one key of whole vectors for each token")
    return (CACHE,)


def _latent_attention(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    q, kv, positions = inputs
    expect(kv == CACHE and positions.dtype is DType.I32, "takes queries, the cache and positions")
    expect(q.shape[-1] == attrs["heads"] * attrs["head_dim"], "a query for each head")
    expect(0 < attrs["value_dim"] <= attrs["head_dim"], "a value is the front of a key")
    return (f32(q.shape[0], attrs["heads"] * attrs["value_dim"]),)


@op(_head_linear)
def head_linear(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,H*K], w fmt[H,N,K], perhaps tail f32[T,H*R] -> f32[T,H*width]: of head h w[h] @ x of h, its tail, zeros."""
    x, weight, *tail = inputs
    w = weight.array()
    heads = len(w)
    y = np.zeros((len(x), heads, attrs["width"]), np.float32)
    y[:, :, : w.shape[1]] = np.einsum("thk,hnk->thn", x.reshape(len(x), heads, -1).astype(np.float64), w.astype(np.float64))
    for t in tail:
        rows = t.reshape(len(t), heads, -1)
        y[:, :, w.shape[1] : w.shape[1] + rows.shape[2]] = rows
    return (y.reshape(len(x), -1),)


@op(_latent_append, inplace={0: 0})
def latent_append(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, latent f32[T,C], rotated f32[T,R] -> cache with both and zeros up to head_dim, stored as `dtype` ("f32", "f16")."""
    kv, latent, rotated = inputs
    zeros = np.zeros((len(latent), attrs["head_dim"] - latent.shape[1] - rotated.shape[1]), np.float32)
    key = np.concatenate([latent, rotated, zeros], 1)
    return (kv.append(attrs["layer"], key, key[:, :0], attrs.get("dtype", "f32")),)


@op(_latent_attention)
def latent_attention(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """q f32[T,H*D], cache, positions i32[T] -> f32[T,H*C]: causal attention of all heads to the same keys, of which values are
    the first `value_dim` features."""
    q, kv, positions = inputs
    keys = kv.keys(attrs["layer"])
    scores = ref.attention_scores(q, keys, attrs["heads"], 1, attrs["scale"])
    return (ref.attention_values(ref.softmax_causal(scores, positions), keys[:, : attrs["value_dim"]], 1),)
