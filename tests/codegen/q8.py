"""What kernels that quantise must write for a batch of rows: the three arrays, token tile after token tile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.activations import COLUMNS, SUPER_BLOCK, quantise, token_tiles


@dataclass(frozen=True)
class Tiles:
    """qa i8, da f32, sa i32 of `tokens` tokens of `k` columns, flat."""

    qa: NDArray[np.int8]
    da: NDArray[np.float32]
    sa: NDArray[np.int32]

    def same(self, other: "Tiles") -> bool:
        return all(a.tobytes() == b.tobytes() for a, b in zip(self.arrays, other.arrays, strict=True))

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        return self.qa, self.da, self.sa


def padded(tokens: int) -> int:
    """Token rows of all tiles."""
    return sum(width for _, width in token_tiles(tokens))


def blank(tokens: int, k: int) -> Tiles:
    """Memory of the right size holding what no kernel writes."""
    blocks = padded(tokens) * (k // COLUMNS)
    return Tiles(
        np.full(blocks * COLUMNS, -128, np.int8), np.full(blocks, np.nan, np.float32), np.full(2 * blocks, 1 << 30, np.int32)
    )


def expected(x: NDArray[np.float32], form: str = "q8") -> Tiles:
    """Tiles of x [T, K]."""
    parts = []
    for start, width in token_tiles(len(x)):
        rows = np.zeros((width, x.shape[1]), np.float32)
        rows[: len(x) - start] = x[start : start + width]
        parts.append(quantise(rows, COLUMNS if form == "q8" else SUPER_BLOCK).tiled(width))
    return Tiles(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("qa", "da", "sa")))
