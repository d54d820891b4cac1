"""The attention of blocks with latents. Takes what layers.py takes."""

from __future__ import annotations

from llmc.frontend.latent import Latent
from llmc.frontend.layers import Step, linear
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def latent_attention(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: multi-head latent attention, absorbed.  DeepSeek-V2, arXiv:2405.04434, 2.1."""
    c, m = s.config, s.config.latent
    assert m is not None, "a family with latents reads them"
    latent = linear(s, x, w, "attn.kv_a", m.rank + m.rope, c.hidden, (0, m.rank))
    rotated = linear(s, x, w, "attn.kv_a", m.rank + m.rope, c.hidden, (m.rank, m.rank + m.rope))
    latent = s.emit("rms_norm", latent, w.vector("attn.kv_a_norm", m.rank), name="latent", eps=m.norm_eps or c.norm_eps)
    rotated = _rotate(s, rotated, 1, "k_rope")
    query = _query(s, x, w, m)
    geometry = {"layer": s.layer, "kv_heads": 1, "head_dim": m.head_dim}
    s.kv = s.emit("latent_append", s.kv, latent, rotated, name="kv", **geometry)
    of = {**geometry, "heads": c.heads, "value_dim": m.rank, "scale": c.attention_scale}
    mixed = s.emit("latent_attention", query, s.kv, s.positions, name="mixed", **of)
    values = s.emit("head_linear", mixed, w.stack("attn.v_up", c.heads, m.value, m.rank), name="values", width=m.value)
    return linear(s, values, w, "attn.out", c.hidden, c.heads * m.value)


def _query(s: Step, x: Value, w: Weights, m: Latent) -> Value:
    """x [T, C] -> [T, H*D]: for each head what meets the latent, what meets the rotated features, zeros."""
    c, columns = s.config, m.queries or s.config.hidden
    if m.queries:
        x = linear(s, x, w, "attn.q_a", m.queries, c.hidden)
        x = s.emit("rms_norm", x, w.vector("attn.q_a_norm", m.queries), name="query", eps=m.norm_eps or c.norm_eps)
    fixed = linear(s, x, w, "attn.q_nope", c.heads * m.nope, columns)
    rotated = _rotate(s, linear(s, x, w, "attn.q_rope", c.heads * m.rope, columns), c.heads, "q_rope")
    matrix = w.stack("attn.k_up", c.heads, m.rank, m.nope)
    return s.emit("head_linear", fixed, matrix, rotated, name="absorbed", width=m.head_dim)


def _rotate(s: Step, x: Value, heads: int, name: str) -> Value:
    assert s.rope_table is not None
    return s.emit("rope", x, s.rope_table, name=name, heads=heads, style=s.rope_style)
