"""Attention of encoders: every token of a sequence sees the others on both sides, or those within reach.

The keys of a sequence are all of one step, and lie in pages as those of the causal kernel do, whose softmax and sums these are
(attention.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels import kv_append
from llmc.codegen.kernels.attention import Attention
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa


@dataclass(frozen=True)
class AttentionBoth:
    """o[t, h*d ..] of tokens [tok_lo, tok_hi) and query heads of KV heads [kv_lo, kv_hi); operands as for Attention.

    keys: how many the sequence has, from position 0 on. local: a token sees those at most `reach` positions away. biased: bias[h]
    points to head h's row of 2 * span - 1 numbers, span >= keys, that are added to the scores of keys 1 - span .. span - 1
    positions after the query (T5, arXiv:1910.10683).
    """

    d: int
    heads_per_kv: int
    tokens: int
    dtype: str
    local: bool = False
    biased: bool = False

    def __post_init__(self) -> None:
        kv_append.check(self.d, self.dtype)
        if self.heads_per_kv < 1 or self.tokens < 1:
            raise ValueError(f"attention of {self.heads_per_kv} heads and {self.tokens} tokens")

    @classmethod
    def variants(
        cls, d: int, heads_per_kv: int, dtype: str, local: bool = False, biased: bool = False
    ) -> tuple["AttentionBoth", "AttentionBoth"]:
        """The kernel for single tokens and the one for tiles."""
        tiled = Attention.variants(d, heads_per_kv, dtype)[1].tokens
        return cls(d, heads_per_kv, 1, dtype, local, biased), cls(d, heads_per_kv, tiled, dtype, local, biased)

    @property
    def rows(self) -> int:
        return self.heads_per_kv * self.tokens

    @property
    def chunked(self) -> bool:
        return False

    @property
    def window(self) -> bool:
        """As the causal kernel calls it."""
        return self.local

    @property
    def softcap(self) -> bool:
        return False

    @property
    def of_heads(self) -> str:
        return ""

    @property
    def symbol(self) -> str:
        options = "_local" * self.local + "_biased" * self.biased
        return f"attention_both_d{self.d}_g{self.heads_per_kv}_t{self.tokens}_{self.dtype}{options}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions, const float *bias, float *o, "
            "int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes, float scale, int32_t reach, int32_t keys, "
            "int32_t span, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo, int32_t tok_hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import attention_both_tir

        return attention_both_tir.generate(self, isa)


def reference(
    q: NDArray[np.floating], k: NDArray[np.floating], v: NDArray[np.floating], scale: float, reach: int = 0,
    bias: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """q [T, heads, d]; k, v [T, kv_heads, d] -> [T, heads, d]. reach: 0 for any. bias [heads, 2 * span - 1]."""
    n, heads = q.shape[:2]
    keys, values = (np.repeat(a.astype(np.float64), heads // k.shape[1], axis=1) for a in (k, v))
    scores = np.einsum("thd,shd->hts", q.astype(np.float64), keys) * scale
    distance = np.arange(n)[None, :] - np.arange(n)[:, None]
    if bias is not None:
        scores = scores + bias.astype(np.float64)[:, distance + bias.shape[1] // 2]
    scores = np.where(np.abs(distance) > reach, -np.inf, scores) if reach else scores
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(np.einsum("hts,shd->thd", p / p.sum(-1, keepdims=True), values))
