"""Numpy arithmetic behind the recurrent ops: token by token, obvious, slow, float64 inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def silu(x: Array) -> Array:
    wide = np.clip(x.astype(np.float64), -700, None)
    return np.asarray(wide / (1 + np.exp(-wide)), np.float32)


def causal_conv(before: Array, x: Array, taps: Array, bias: Array | None) -> tuple[Array, Array]:
    """before [K-1, C], x [T, C], taps [C, K] -> y [T, C], the last K-1 inputs."""
    inputs = np.concatenate([before, x]).astype(np.float64)
    width = taps.shape[1]
    y = sum(taps[:, j].astype(np.float64) * inputs[j : j + len(x)] for j in range(width))
    y = y if bias is None else y + bias
    return np.asarray(y, np.float32), np.asarray(inputs[len(x) :], np.float32)


def softplus(x: Array) -> Array:
    return np.logaddexp(0, x.astype(np.float64))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x.astype(np.float64), -700, None)))


def selective_scan(state: Array, x: Array, dt: Array, b: Array, c: Array, a: Array, d: Array) -> tuple[Array, Array]:
    """state [C, N], x and dt [T, C], b and c [T, N], a [C, N], d [C] -> y [T, C], state."""
    s, step, y = state.astype(np.float64), softplus(dt), np.zeros(x.shape, np.float32)
    for t in range(len(x)):
        s = np.exp(step[t][:, None] * a) * s + (step[t] * x[t])[:, None] * b[t]
        y[t] = s @ c[t].astype(np.float64) + d * x[t]
    return y, np.asarray(s, np.float32)


def ssd(
    state: Array, x: Array, dt: Array, bias: Array, a: Array, d: Array, groups: int, limits: tuple[float, float]
) -> tuple[Array, Array]:
    """state [H, D, N], x [T, H*D + 2*G*N], dt [T, H], bias, a, d [H] -> y [T, H*D], state."""
    heads, head_dim, features = state.shape
    values, b, c = np.split(x.astype(np.float64), np.cumsum([heads * head_dim, groups * features]), axis=1)
    b, c = (np.repeat(m.reshape(len(x), groups, features), heads // groups, 1) for m in (b, c))
    step, s = np.clip(softplus(dt + bias), *limits), state.astype(np.float64)
    y = np.zeros((len(x), heads, head_dim), np.float32)
    for t, v in enumerate(values.reshape(y.shape)):
        s = np.exp(step[t] * a)[:, None, None] * s + (step[t][:, None] * v)[:, :, None] * b[t][:, None, :]
        y[t] = (s @ c[t][:, :, None])[:, :, 0] + d[:, None] * v
    return y.reshape(len(x), -1), np.asarray(s, np.float32)


LENGTH_EPS = 1e-6


def delta_rule(
    state: Array, x: Array, dt: Array, beta: Array, bias: Array, a: Array, key_heads: int, tiled: bool
) -> tuple[Array, Array]:
    """state [H, Dv, Dk], x [T, 2*Hk*Dk + H*Dv], dt and beta [T, H], bias and a [H] -> y [T, H*Dv], state."""
    heads, value_dim, key_dim = state.shape
    q, k, v = np.split(x.astype(np.float64), np.cumsum([key_heads * key_dim] * 2), axis=1)
    own = np.arange(heads) % key_heads if tiled else np.arange(heads) // (heads // key_heads)
    q, k = (m.reshape(len(x), key_heads, key_dim)[:, own] for m in (q, k))
    q, k = (m / np.sqrt((m * m).sum(-1, keepdims=True) + LENGTH_EPS) for m in (q, k))
    decay, step = np.exp(a * softplus(dt + bias)), sigmoid(beta)
    s, y = state.astype(np.float64), np.zeros((len(x), heads, value_dim), np.float32)
    for t, value in enumerate(v.reshape(y.shape)):
        s = decay[t][:, None, None] * s
        error = (value - (s @ k[t][:, :, None])[:, :, 0]) * step[t][:, None]
        s = s + error[:, :, None] * k[t][:, None, :]
        y[t] = (s @ q[t][:, :, None])[:, :, 0] / np.sqrt(key_dim)
    return y.reshape(len(x), -1), np.asarray(s, np.float32)
