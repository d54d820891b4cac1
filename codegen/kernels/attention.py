"""Causal attention of the tokens of one sequence over its paged KV cache: decode (one token) and prefill (tiles of tokens).

Softmax is online over pages of 64 keys in ascending position (Milakov and Gimelshein, arXiv:1805.02867). Positions are cut into
partitions of 512. A partition starts fresh and ends as a state (m, z, acc[d]) per row, a row being one query head of one token:

    m = max s,  z = sum 2^(s - m),  acc = sum 2^(s - m) v          s = (q . k) * scale * log2(e)

or, where scores are capped, s = cap * tanh((q . k) * scale / cap) * log2(e) (Gemma 2, arXiv:2408.00118),
and states are merged in ascending order, M' = max(M, m), (Z, A) = (Z, A) 2^(M - M') + (z, acc) 2^(m - M'). A sink, a learned
logit of a query head that has no value (gpt-oss, arXiv:2508.10925), joins Z once, after the last state. With slopes (ALiBi,
arXiv:2108.12409) a head's score is less by its slope for every position that the key lies back. So a row's result is a function
of its own query, keys and values alone, to the bit: not of how many tokens are computed together, nor of who computes which
partition. Keys past the row's position contribute exactly nothing, nor do keys outside its window.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels import kv_append
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

PARTITION_TOKENS = 512
OF_HEADS = ("", "sinks", "slopes")
_TILE_ROWS = 16  # rows a prefill tile should have: enough to use a loaded key several times, few enough for L1
_TILE_TOKENS = 8


@dataclass(frozen=True)
class Attention:
    """o[t, h*d ..] of tokens [tok_lo, tok_hi) and query heads h = kv*heads_per_kv + g of KV heads kv in [kv_lo, kv_hi).

    q and o are rows ldq and ldo apart, with all query heads. Positions are consecutive; keys and values up to positions[t] are in
    the cache, `kv`, `pages` and `page_bytes` as for KvAppend, kv_heads heads in a page. Tokens are taken `tokens` at a time and
    tok_hi - tok_lo is a multiple of that. No page past a tile's last position is read, no value past it either; where a tile
    holds several tokens, a value that is not finite also spoils the tile's earlier tokens.

    window: a token sees the last `window` positions only, its own among them, or if chunked those from the last multiple of it
    on; pages wholly before that are not read. softcap: scores are capped. of_heads: what the vector of that name holds for each
    query head h: "sinks", e^it joins the denominator, "slopes" of ALiBi, or "". Parameters are there, and not looked at, without
    these.

    Uses about 12 * d * heads_per_kv * tokens bytes of stack.
    """

    d: int
    heads_per_kv: int
    tokens: int
    dtype: str
    window: bool = False
    softcap: bool = False
    of_heads: str = ""
    chunked: bool = False

    def __post_init__(self) -> None:
        kv_append.check(self.d, self.dtype)
        if self.heads_per_kv < 1 or self.tokens < 1:
            raise ValueError(f"attention of {self.heads_per_kv} heads and {self.tokens} tokens")
        if self.of_heads not in OF_HEADS or (self.softcap and self.of_heads == "slopes"):
            raise ValueError(f"attention with {self.of_heads!r}; there are {OF_HEADS}, and slopes without caps")
        if self.chunked and not self.window:
            raise ValueError("chunks are windows")

    @classmethod
    def variants(
        cls, d: int, heads_per_kv: int, dtype: str, window: bool = False, softcap: bool = False, of_heads: str = "",
        chunked: bool = False,
    ) -> tuple["Attention", "Attention"]:  # fmt: skip
        """The kernel for single tokens and the one for tiles, of a power of two of tokens."""
        tokens = 1 << (max(2, min(_TILE_TOKENS, _TILE_ROWS // heads_per_kv)).bit_length() - 1)
        options = (dtype, window, softcap, of_heads, chunked)
        return cls(d, heads_per_kv, 1, *options), cls(d, heads_per_kv, tokens, *options)

    @property
    def rows(self) -> int:
        """Query heads of a tile's tokens that share a KV head."""
        return self.heads_per_kv * self.tokens

    @property
    def symbol(self) -> str:
        options = "_window" * self.window + "_chunked" * self.chunked + "_softcap" * self.softcap
        options += f"_{self.of_heads}" if self.of_heads else ""
        return f"attention_d{self.d}_g{self.heads_per_kv}_t{self.tokens}_{self.dtype}{options}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *q, const uint8_t *kv, const int32_t *pages, const int32_t *positions, const float *of_heads, "
            "float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int64_t page_bytes, float scale, float softcap, "
            "int32_t window, int32_t kv_lo, int32_t kv_hi, int32_t tok_lo, int32_t tok_hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import attention_tir

        return attention_tir.generate(self, isa)


def reference(
    q: NDArray[np.floating],
    k: NDArray[np.floating],
    v: NDArray[np.floating],
    positions: NDArray[np.int32],
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
    sinks: NDArray[np.floating] | None = None,
    slopes: NDArray[np.floating] | None = None,
    chunked: bool = False,
) -> NDArray[np.float64]:
    """q [T, heads, d]; k, v [positions, kv_heads, d] from position 0 on -> [T, heads, d].

    window, softcap: 0 for none. sinks, slopes [heads].
    """
    heads, kv_heads = q.shape[1], k.shape[1]
    keys, values = (np.repeat(a.astype(np.float64), heads // kv_heads, axis=1) for a in (k, v))
    rows = []
    for row, position in zip(q.astype(np.float64), positions, strict=True):
        oldest = position - position % window if chunked else max(0, position + 1 - window)
        seen = slice(oldest if window else 0, position + 1)
        scores = np.einsum("hd,shd->hs", row, keys[seen]) * scale
        scores = softcap * np.tanh(scores / softcap) if softcap else scores
        if slopes is not None:
            scores = scores - slopes.astype(np.float64)[:, None] * (position - np.arange(position + 1))[seen]
        sink = np.full((heads, 1), -np.inf) if sinks is None else sinks.astype(np.float64)[:, None]
        top = np.maximum(scores.max(axis=1, keepdims=True), sink)
        p = np.exp(scores - top)
        rows.append(np.einsum("hs,shd->hd", p / (p.sum(axis=1, keepdims=True) + np.exp(sink - top)), values[seen]))
    return np.stack(rows)
