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
