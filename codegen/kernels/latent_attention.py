"""Causal attention of all heads of a sequence's tokens to one latent per position: multi-head latent attention, absorbed.

The cache is that of codegen/kernels/latent_append.py: a key is all d features of a position, its value the first `values` of
them, so each is read once for both. States, partitions and their order are those of codegen/kernels/attention.py; a score sums
its products lane by lane over ascending features, then the lanes. DeepSeek-V2, arXiv:2405.04434, 2.1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.kv_append import WHOLE_DTYPES
from llmc.codegen.kernels.latent_append import WHOLE

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

_ROWS = 16  # query heads of tokens that share a loaded latent
_HEADS = 8  # of one token: fewer would leave the other workers without any


@dataclass(frozen=True)
class LatentAttention:
    """o[t, h*values ..] of tokens [tok_lo, tok_hi) and query heads h = group*heads_per_kv + g of the groups [kv_lo, kv_hi).

    Parameters are those of Attention (codegen/kernels/attention.py): q rows have all heads of d features, o rows all heads of
    `values`; kv_heads, sinks, softcap and window are not looked at.

    Uses about 8 * (d + values) * heads_per_kv * tokens bytes of stack.
    """

    d: int
    values: int
    heads_per_kv: int
    tokens: int
    dtype: str

    def __post_init__(self) -> None:
        if self.d < 1 or self.d % WHOLE or not 0 < self.values <= self.d or self.dtype not in WHOLE_DTYPES:
            raise ValueError(f"latents of {self.d} features, {self.values} of them values, as {self.dtype}")
        if self.heads_per_kv < 1 or self.tokens < 1:
            raise ValueError(f"attention of {self.heads_per_kv} heads and {self.tokens} tokens")

    @classmethod
    def variants(cls, d: int, values: int, heads: int, dtype: str) -> tuple["LatentAttention", "LatentAttention"]:
        """The kernel for single tokens and the one for tiles of tokens, both for groups of as many of the heads."""
        group = next(n for n in range(min(heads, _HEADS), 0, -1) if heads % n == 0)
        tokens = max(2, _ROWS // group)
        return cls(d, values, group, 1, dtype), cls(d, values, group, tokens, dtype)

    @property
    def rows(self) -> int:
        """Query heads of a tile's tokens."""
        return self.heads_per_kv * self.tokens

    @property
    def symbol(self) -> str:
        return f"latent_attention_d{self.d}_v{self.values}_g{self.heads_per_kv}_t{self.tokens}_{self.dtype}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions, const float *sinks, "
            "float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes, float scale, float softcap, "
            "int32_t window, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo, int32_t tok_hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import latent_attention_tir

        return latent_attention_tir.generate(self, isa)


def reference(
    q: NDArray[np.floating], keys: NDArray[np.floating], positions: NDArray[np.int32], scale: float, values: int
) -> NDArray[np.float64]:
    """q [T, heads, d]; keys [positions, d] from position 0 on -> [T, heads, values]."""
    rows, wide = [], keys.astype(np.float64)
    for row, position in zip(q.astype(np.float64), positions, strict=True):
        scores = row @ wide[: position + 1].T * scale
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        rows.append(p / p.sum(axis=1, keepdims=True) @ wide[: position + 1, :values])
    return np.stack(rows)
