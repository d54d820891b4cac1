"""Encoders: their attention, and what embeds their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.layers import Step, head_norm, linear, linears
from llmc.frontend.weights import Weights
from llmc.ir.graph import Builder, Value
from llmc.ir.ops import SEGMENTS

MAX_STEP: Final = 1 << 14  # tokens: what a text may have at most, whatever the context


def attention_both(
    s: Step, x: Value, w: Weights, *,
    reach: int = 0, qk_norm: bool = False, table: Value | None = None, bias: Value | None = None,
) -> Value:  # fmt: skip
    """x [T, C] -> [T, C]: attention to both sides, to keys at most `reach` positions away unless that is 0.

    table: rotates queries and keys. bias [H, 2*span-1]: joins scores by distance. Keys and values live as long as the
    layer: one layer's place in the cache serves all.
    """
    c = s.config
    rows = {"attn.q": c.heads * c.head_dim, "attn.k": c.kv_heads * c.head_dim, "attn.v": c.kv_heads * c.head_dim}
    q, k, v = linears(s, x, w, "attn.qkv", rows, c.hidden)
    if qk_norm:
        q, k = head_norm(s, q, w, "q_norm", c.heads), head_norm(s, k, w, "k_norm", c.kv_heads)
    if table is not None:
        q = s.emit("rope", q, table, name="q_rope", heads=c.heads, style=s.rope_style)
        k = s.emit("rope", k, table, name="k_rope", heads=c.kv_heads, style=s.rope_style)
    s.windowed = s.windowed or reach > 0
    s.kv = s.emit("kv_append", s.kv, k, v, name="kv", layer=0, kv_heads=c.kv_heads, head_dim=c.head_dim, fresh=True)
    of = {"layer": 0, "heads": c.heads, "kv_heads": c.kv_heads, "head_dim": c.head_dim, "scale": c.attention_scale}
    within = {"reach": reach} if reach else {}
    joined = [] if bias is None else [bias]
    mixed = s.emit("attention_both", q, s.kv, s.positions, *joined, name="mixed", **of, **within)
    return linear(s, mixed, w, "attn.out", c.hidden, c.heads * c.head_dim)


def segments(checkpoint: Checkpoint, names: Mapping[str, str]) -> int:
    """Segments that a model tells apart: rows of their embedding."""
    table = checkpoint.tensors.get(names.get("segments", ""))
    return table.shape[0] if table else 0


def add_segments(b: Builder, w: Weights, x: Value, hidden: int) -> Value:
    """x [T, C] plus the embedding of each token's segment, where the model has one."""
    count = segments(w.checkpoint, w.names)
    if not count:
        return x
    table = w.matrix("segments", count, hidden)
    return b.emit("add", x, b.emit("embedding", b.input("segments", SEGMENTS), table, name="segment"), name="x")


def bucket_starts(buckets: int, furthest: int) -> tuple[int, ...]:
    """The distances at which T5's buckets to one side begin: one by one up to half of them, then by equal factors.

    Of n buckets, e in the first half, bucket b of the second begins at the first d of (d / e)^(n - e) >= (furthest / e)^(b - e):
    whole numbers alone, so that no logarithm decides.
    """
    exact = buckets // 2
    starts = [*range(exact)]
    d = exact
    for b in range(exact, buckets):
        while d ** (buckets - exact) * exact ** (b - exact) < furthest ** (b - exact) * exact ** (buckets - exact):
            d += 1
        starts.append(d)
    return tuple(starts)
