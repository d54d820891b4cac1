"""Quantised activations ("q8", "q8_256") in numpy: what the kernels that quantise write and the linear kernels read.

q8: columns are taken 32 at a time: d = max|x| / 127, q = x * (127 / max|x|) to the nearest whole number, ties to even, and
the sums of q over each 16 columns.

q8_256, what super-blocks are multiplied with: 256 columns share d, which is written once for each 32 all the same; 64 columns of
a token lie together, the row of a matrix tile, not 32; and the sums of 256 columns are sixteen words that a product of 16-bit
pairs reads: eight with the sums of 16 columns and of the next 16, four with those of 32, the sum of all, zeros.

Tokens lie in token tiles of `p` rows: as many of 16 as fit, then one of the smallest power of two that holds the rest, filled up
with zeros. The tile of token t0 starts at t0 * K in qa, t0 * nb in da, t0 * nb * 2 in sa, where nb = K / 32.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = 32  # to a scale
SUPER_BLOCK = 256  # columns that share one in q8_256
SPAN = 64  # columns of a token that lie together in q8_256
TOKENS = 16  # of a full token tile
FORMS = ("", "q8", "q8_256")


@dataclass(frozen=True)
class Quantised:
    """qa i8 [T, nb, 32], da f32 [T, nb], sa i32 [T, nb, 2], by token."""

    qa: NDArray[np.int8]
    da: NDArray[np.float32]
    sa: NDArray[np.int32]
    columns: int = COLUMNS  # that share a scale: 32 for q8, 256 for q8_256

    @property
    def span(self) -> int:
        """Columns of a token that lie together in a token tile."""
        return COLUMNS if self.columns == COLUMNS else SPAN

    def values(self) -> NDArray[np.float64]:
        """What the numbers stand for, f64 [T, K]."""
        values: NDArray[np.float64] = self.qa.astype(np.float64) * self.da[:, :, None]
        return values.reshape(len(self.qa), -1)

    def tiled(self, p: int) -> "Quantised":
        """The same numbers, flat, in token tiles of p; T must be a multiple of p."""
        tokens, nb, _ = self.qa.shape
        qa = self.qa.reshape(-1, p, nb * COLUMNS // self.span, self.span).transpose(0, 2, 1, 3)
        da = self.da.reshape(-1, p, nb).transpose(0, 2, 1)
        sa = self.sa.reshape(-1, p, nb, 2).transpose(0, 2, 3, 1)
        return Quantised(qa.flatten(), da.flatten(), sa.flatten())


def quantise(x: NDArray[np.float32], columns: int = COLUMNS) -> Quantised:
    """x f32 [T, K], K a multiple of `columns`, 32 or 256. Single precision throughout, as the kernels compute; a factor that
    overflows is the largest float."""
    blocks = x.reshape(len(x), -1, columns)
    amax = np.abs(blocks).max(axis=2)
    with np.errstate(over="ignore"):
        inverse = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=amax > 0)
    inverse = np.minimum(inverse, np.finfo(np.float32).max)
    qa = np.rint(blocks * inverse[:, :, None]).astype(np.int8).reshape(len(x), -1, COLUMNS)
    return Quantised(qa, np.repeat(amax / np.float32(127), columns // COLUMNS, axis=1), sums(qa, columns), columns)


def sums(qa: NDArray[np.int8], columns: int = COLUMNS) -> NDArray[np.int32]:
    """qa i8 [T, nb, 32] -> i32 [T, nb, 2]."""
    halves: NDArray[np.int32] = qa.reshape(*qa.shape[:2], 2, COLUMNS // 2).sum(axis=3, dtype=np.int32)
    if columns == COLUMNS:
        return halves
    of_16 = halves.reshape(len(qa), -1, 8, 2)
    of_32 = of_16.sum(axis=3).reshape(len(qa), -1, 4, 2)
    words = np.zeros((*of_16.shape[:2], 16), np.int32)
    words[..., :8], words[..., 8:12], words[..., 12] = _pairs(of_16), _pairs(of_32), of_16.sum(axis=(2, 3))
    return words.reshape(halves.shape)


def _pairs(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """i32 [..., 2] -> i32 [...], the first in the low 16 bits."""
    return numbers[..., 0] & 0xFFFF | numbers[..., 1] << 16


def token_tiles(tokens: int) -> list[tuple[int, int]]:
    """(first token, width) of each token tile of `tokens` tokens."""
    full = [(start, TOKENS) for start in range(0, tokens - TOKENS + 1, TOKENS)]
    rest = tokens % TOKENS
    return full + ([(tokens - rest, 1 << (rest - 1).bit_length())] if rest else [])
