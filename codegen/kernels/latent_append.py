"""Latents of new tokens into the paged cache: one vector per token, its features together.

A page holds 64 positions of one layer as [64][d]: the latent, the rotated features that all heads share, and zeros up to d.
DeepSeek-V2, arXiv:2405.04434, 2.1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.kv_append import DTYPES, PAGE_TOKENS, WHOLE_DTYPES

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

WHOLE = 16  # d is a multiple of it


@dataclass(frozen=True)
class LatentAppend:
    """Writes tokens [lo, hi) of one sequence: k [t, latent] with rows ldk apart, then v [t, rotated] with rows ldv apart.

    Parameters are those of KvAppend (codegen/kernels/kv_append.py); `table` and `heads` are not looked at. "f16" rounds to
    nearest, ties to even.
    """

    latent: int
    rotated: int
    dtype: str

    def __post_init__(self) -> None:
        if self.latent < 1 or self.rotated < 0 or self.dtype not in WHOLE_DTYPES:
            raise ValueError(f"a cache of {self.latent} and {self.rotated} features as {self.dtype}")

    @property
    def d(self) -> int:
        return padded(self.latent + self.rotated)

    @property
    def symbol(self) -> str:
        return f"latent_append_c{self.latent}_r{self.rotated}_{self.dtype}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *k, const float *v, const float *table, uint8_t *kv, const int32_t *pages, const int32_t *positions, "
            "int32_t heads, int32_t ldk, int32_t ldv, int64_t page_bytes, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import latent_append_tir

        return latent_append_tir.generate(self, isa)


def padded(features: int) -> int:
    """Features of a token in the cache."""
    return -(-features // WHOLE) * WHOLE


def reference(
    pool: NDArray[np.uint8],
    pages: NDArray[np.int32],
    positions: NDArray[np.int32],
    latent: NDArray[np.floating],
    rotated: NDArray[np.floating],
    dtype: str,
) -> None:
    """Writes latent [T, C] and rotated [T, R] into pool [pages, page_bytes], in place."""
    features = np.concatenate([latent, rotated], 1)
    d = padded(features.shape[1])
    cache = pool.view(DTYPES[dtype])[:, : PAGE_TOKENS * d].reshape(len(pool), PAGE_TOKENS, d)
    for t, position in enumerate(positions):
        row = cache[pages[position // PAGE_TOKENS], position % PAGE_TOKENS]
        row[:] = 0
        row[: features.shape[1]] = features[t]
