"""What blocks of different families are made of. Differences between families are arguments at the call.

Everything takes the `Step` under construction and values of logical f32: T tokens, C hidden, H heads, Hk key/value heads,
D head dim.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmc.frontend.config import Config
from llmc.frontend.weights import Weights
from llmc.ir.graph import Builder, Value


@dataclass
class Step:
    """The step function while its graph grows: builder, config, inputs, and the cache as the last layer left it."""

    builder: Builder
    config: Config
    positions: Value
    rope_table: Value | None  # f32[T, rope_dims], None where nothing rotates
    rope_style: str
    kv: Value
    layer: int = 0

    def emit(self, op: str, *inputs: Value, name: str = "", **attrs: object) -> Value:
        return self.builder.emit(op, *inputs, name=f"{name or op}.{self.layer}", **attrs)


def rms_norm(s: Step, x: Value, weight: Value, name: str = "norm") -> Value:
    """x [T, C] -> [T, C].  arXiv:1910.07467."""
    return s.emit("rms_norm", x, weight, name=name, eps=s.config.norm_eps)


def linear(s: Step, x: Value, w: Weights, name: str, rows: int, columns: int) -> Value:
    """x [T, columns] -> [T, rows], with the bias where the checkpoint has one."""
    matrix = s.emit("dequantize", w.matrix(name, rows, columns), name=f"{name}.f32")
    y = s.emit("matmul", x, matrix, name=name)
    bias = w.optional_vector(f"{name}.bias", rows)
    return y if bias is None else s.emit("add_bias", y, bias, name=name)


def attention(s: Step, x: Value, w: Weights, *, qk_norm: bool = False, rotate: bool = True) -> Value:
    """x [T, C] -> [T, C]: grouped-query causal attention over the cache, rotary positions unless `rotate` is off.

    qk_norm: each head of q and k is normalised before it rotates.
    """
    c = s.config
    q = linear(s, x, w, "attn.q", c.heads * c.head_dim, c.hidden)
    k = linear(s, x, w, "attn.k", c.kv_heads * c.head_dim, c.hidden)
    v = linear(s, x, w, "attn.v", c.kv_heads * c.head_dim, c.hidden)
    if qk_norm:
        q = s.emit("head_norm", q, w.vector("attn.q_norm", c.head_dim), name="q_norm", heads=c.heads, eps=c.norm_eps)
        k = s.emit("head_norm", k, w.vector("attn.k_norm", c.head_dim), name="k_norm", heads=c.kv_heads, eps=c.norm_eps)
    if rotate and s.rope_table is not None:
        q = s.emit("rope", q, s.rope_table, name="q_rope", heads=c.heads, style=s.rope_style)
        k = s.emit("rope", k, s.rope_table, name="k_rope", heads=c.kv_heads, style=s.rope_style)
    mixed = _attend(s, q, k, v)
    return linear(s, mixed, w, "attn.out", c.hidden, c.heads * c.head_dim)


def _attend(s: Step, q: Value, k: Value, v: Value) -> Value:
    """Appends k and v to the layer's cache and attends to all of it: q [T, H*D] -> [T, H*D]."""
    c = s.config
    s.kv = s.emit("kv_append", s.kv, k, v, name="kv", layer=s.layer, kv_heads=c.kv_heads, head_dim=c.head_dim)
    of = dict(layer=s.layer, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, scale=c.attention_scale)
    scores = s.emit("attention_scores", q, s.kv, name="scores", **of)
    probabilities = s.emit("softmax_causal", scores, s.positions, name="probabilities")
    return s.emit("attention_values", probabilities, s.kv, name="mixed", **of)


def swiglu(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: down(silu(gate(x)) * up(x)).  arXiv:2002.05202."""
    c = s.config
    gate = s.emit("silu", linear(s, x, w, "ffn.gate", c.intermediate, c.hidden))
    up = linear(s, x, w, "ffn.up", c.intermediate, c.hidden)
    return linear(s, s.emit("mul", gate, up, name="swiglu"), w, "ffn.down", c.hidden, c.intermediate)


def residual(s: Step, x: Value, branch: Value) -> Value:
    """x + residual_scale * branch."""
    factor = s.config.residual_scale
    if factor != 1.0:
        branch = s.emit("scale", branch, name="branch", factor=factor)
    return s.emit("add", x, branch, name="x")
