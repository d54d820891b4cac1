"""Quantised activations ("q8") in numpy: what the kernels that quantise write and the linear kernels read.

Columns are taken 32 at a time: d = max|x| / 127, q = x * (127 / max|x|) to the nearest whole number, ties to even, and the sums
of q over each 16 columns. Tokens lie in token tiles of `p` rows: as many of 16 as fit, then one of the smallest power of two
that holds the rest, filled up with zeros. The tile of token t0 starts at t0 * K in qa, t0 * nb in da, t0 * nb * 2 in sa.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = 32  # that share a scale
TOKENS = 16  # of a full token tile


@dataclass(frozen=True)
class Quantised:
    """qa i8 [T, nb, 32], da f32 [T, nb], sa i32 [T, nb, 2], by token."""

    qa: NDArray[np.int8]
    da: NDArray[np.float32]
    sa: NDArray[np.int32]

    def values(self) -> NDArray[np.float64]:
        """What the numbers stand for, f64 [T, K]."""
        values: NDArray[np.float64] = self.qa.astype(np.float64) * self.da[:, :, None]
        return values.reshape(len(self.qa), -1)

    def tiled(self, p: int) -> "Quantised":
        """The same numbers, flat, in token tiles of p; T must be a multiple of p."""
        tokens, nb, _ = self.qa.shape
        qa = self.qa.reshape(-1, p, nb, COLUMNS).transpose(0, 2, 1, 3)
        da = self.da.reshape(-1, p, nb).transpose(0, 2, 1)
        sa = self.sa.reshape(-1, p, nb, 2).transpose(0, 2, 3, 1)
        return Quantised(qa.flatten(), da.flatten(), sa.flatten())


def quantise(x: NDArray[np.float32]) -> Quantised:
    """x f32 [T, K], K a multiple of 32. Single precision throughout, as the kernels compute; a factor that
    overflows is the largest float."""
    blocks = x.reshape(len(x), -1, COLUMNS)
    amax = np.abs(blocks).max(axis=2)
    with np.errstate(over="ignore"):
        inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=amax > 0)
    inverse = np.minimum(inverse, np.finfo(np.float32).max)
    qa = np.rint(blocks * inverse[:, :, None]).astype(np.int8)
    return Quantised(qa, amax / np.float32(127), sums(qa))


def sums(qa: NDArray[np.int8]) -> NDArray[np.int32]:
    """qa i8 [T, nb, 32] -> i32 [T, nb, 2]."""
    total: NDArray[np.int32] = qa.reshape(*qa.shape[:2], 2, COLUMNS // 2).sum(axis=3, dtype=np.int32)
    return total


def token_tiles(tokens: int) -> list[tuple[int, int]]:
    """(first token, width) of each token tile of `tokens` tokens."""
    full = [(start, TOKENS) for start in range(0, tokens - TOKENS + 1, TOKENS)]
    rest = tokens % TOKENS
    return full + ([(tokens - rest, 1 << (rest - 1).bit_length())] if rest else [])
