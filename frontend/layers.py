"""What blocks of different families are made of. Differences between families are arguments at the call.

Everything takes the `Step` under construction and values of logical f32: T tokens, C hidden, H heads, Hk key/value heads,
D head dim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import accumulate

import numpy as np

from llmc.errors import MalformedFileError
from llmc.frontend.config import Config, Keys, Temperature
from llmc.frontend.experts import Experts
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
    norm: str = "rms_norm"
    local_rope_table: Value | None = None  # of layers with a window
    windowed: bool = False  # whether a layer had a window
    slopes: Value | None = None  # of the heads, [H]
    temperatures: Value | None = None  # factors of queries, one for every so many positions
    most_tokens: int = 0  # of the largest step
    distance_bias: Value | None = None  # of the last layer that has one: what joins scores by distance
    ones: dict[int, Value] = field(default_factory=dict)  # by their number
    streams: tuple[Value, ...] = ()  # rows carried from layer to layer beside x
    per_layer: Value | None = None  # rows of each token for all layers
    reordered: dict[tuple[str, str], Value] = field(default_factory=dict)  # by the names of x and of the order of its columns

    def local(self, every: int) -> bool:
        """Whether this layer has a window: all but the last of `every` layers, unless the checkpoint says otherwise."""
        stated = self.config.local_layers
        return (self.layer + 1) % every != 0 if stated is None else stated[self.layer]

    def emit(self, op: str, *inputs: Value, name: str = "", **attrs: object) -> Value:
        return self.builder.emit(op, *inputs, name=f"{name or op}.{self.layer}", **attrs)


def rms_norm(s: Step, x: Value, weight: Value, name: str = "norm") -> Value:
    """x [T, C] -> [T, C].  arXiv:1910.07467."""
    return s.emit("rms_norm", x, weight, name=name, eps=s.config.norm_eps)


def norm(s: Step, x: Value, w: Weights, name: str) -> Value:
    """x [T, C] -> [T, C] by the weights of that name: the family's norm, a layer norm with the bias where there is one.

    A family whose norms have no weights has no name for them.
    """
    weight = w.vector(name, s.config.hidden) if name in w.names else ones(s, s.config.hidden)
    if s.norm == "rms_norm":
        return rms_norm(s, x, weight, name)
    bias = w.optional_vector(f"{name}.bias", s.config.hidden)
    return s.emit("layer_norm", x, weight, *([] if bias is None else [bias]), name=name, eps=s.config.norm_eps)


def ones(s: Step, size: int) -> Value:
    """The weights of a norm that has none: [size]."""
    if size not in s.ones:
        s.ones[size] = s.builder.constant(f"ones.{size}", np.ones(size, np.float32))
    return s.ones[size]


def linear(
    s: Step, x: Value, w: Weights, name: str, rows: int, columns: int, part: tuple[int, int] | None = None, called: str = ""
) -> Value:
    """x [T, columns] -> [T, rows], or the columns [lo, hi) of that, with the bias where the checkpoint has one.

    The config may have a factor for the result under its name, or what it is `called` where it is part of another.
    """
    y = _product(s, x, w, name, rows, columns, part)
    factor = s.config.factors.get(called or name, 1.0)
    return y if factor == 1.0 else s.emit("scale", y, name=called or name, factor=factor)


def _product(s: Step, x: Value, w: Weights, name: str, rows: int, columns: int, part: tuple[int, int] | None) -> Value:
    factor = w.factor(name, rows, columns, part)
    matrix = s.emit("dequantize", factor.weight, name=f"{name}.f32")
    y = s.emit("matmul", reordered(s, x, factor.order), matrix, name=name)
    bias = w.optional_vector(f"{name}.bias", rows, part)
    if factor.scales is not None:
        return s.emit("scale_columns", y, factor.scales, *([] if bias is None else [bias]), name=name)
    return y if bias is None else s.emit("add_bias", y, bias, name=name)


def reordered(s: Step, x: Value, order: Value | None) -> Value:
    """x [T, K] with its columns as a weight has them. Weights that share x and order share the result."""
    if order is None:
        return x
    key = (x.name, order.name)
    if key not in s.reordered:
        s.reordered[key] = s.emit("take_columns", x, order)
    return s.reordered[key]


def linears(s: Step, x: Value, w: Weights, fused: str, rows: dict[str, int], columns: int) -> list[Value]:
    """Products of one x, by name: x [T, columns] -> [T, rows] each.

    A model that has a matrix `fused` stores their rows in it, one product's after the other's.
    """
    if not w.has(fused) and all(name in w.names for name in rows):
        return [linear(s, x, w, name, n, columns) for name, n in rows.items()]
    ends = [*accumulate(rows.values())]
    return [
        linear(s, x, w, fused, ends[-1], columns, (end - n, end), called=name)
        for (name, n), end in zip(rows.items(), ends, strict=True)
    ]


def attention(
    s: Step, x: Value, w: Weights, *,
    qk_norm: bool = False, norm_last: bool = False, row_norm: bool = False, rotate: bool = True, local: bool = False,
    gated: bool = False, shares: int | None = None, tempered: bool = True, v_norm: bool = False,
    keys_serve: bool = False,
) -> Value:  # fmt: skip
    """x [T, C] -> [T, C]: grouped-query causal attention over the cache, rotary positions unless `rotate` is off.

    qk_norm: each head of q and k is normalised before it rotates; norm_last: after that; row_norm: all heads of q together are,
    and those of k. local: a token sees the last positions only, as many as the config's window has, and rotates as layers with
    a window do. gated: each head of q is followed by a gate, whose sigmoid its result is multiplied by. shares: the layer whose
    keys and values this one attends to, in the place of its own: it has none. tempered: queries grow with their position, where
    the config says so. v_norm: heads of values are normalised too. keys_serve: as values as well, before they are normalised.
    """
    c = s.config
    rows = {"attn.q": c.heads * c.head_dim * (2 if gated else 1)}
    if shares is None:
        rows |= dict.fromkeys(("attn.k",) if keys_serve else ("attn.k", "attn.v"), c.kv_heads * c.head_dim)
    q, *kv = linears(s, x, w, "attn.qkv", rows, c.hidden)
    if gated:
        q, gate = (alternate(s, q, name, half, 2, c.heads, c.head_dim) for half, name in enumerate(("q", "gate")))
    if c.clip:
        q, *kv = (s.emit("clamp", part, name="clamped", limit=c.clip) for part in (q, *kv))
    table = (s.local_rope_table if local else s.rope_table) if rotate else None

    def placed(part: Value, name: str, heads: int) -> Value:
        """Heads of queries or keys, normalised and rotated."""
        if row_norm:
            part = rms_norm(s, part, w.vector(f"attn.{name}_norm", heads * c.head_dim), f"{name}_norm")
        if qk_norm:
            part = head_norm(s, part, w, f"{name}_norm", heads)
        if table is not None:
            part = s.emit("rope", part, table, name=f"{name}_rope", heads=heads, style=s.rope_style)
        return head_norm(s, part, w, f"{name}_norm", heads) if norm_last else part

    q = placed(q, "q", c.heads)
    if tempered and c.temperature is not None:
        q = temper(s, q, c.temperature)
    if kv:
        values = head_norm(s, kv[-1], w, "v_norm", c.kv_heads) if v_norm else kv[-1]
        append(s, placed(kv[0], "k", c.kv_heads), values)
    mixed = attend(s, q, s.layer if shares is None else shares, local, w.optional_vector("attn.sinks", c.heads))
    if gated:
        mixed = s.emit("sigmoid_mul", gate, mixed, name="gated")
    return linear(s, mixed, w, "attn.out", c.hidden, c.heads * c.head_dim)


def temper(s: Step, q: Value, t: Temperature) -> Value:
    """q [T, H*D], each row multiplied by the factor of its position."""
    offset = {"offset": t.offset} if t.offset else {}
    return s.emit("scale_positions", q, s.positions, temperatures(s, t), name="q", length=t.length, **offset)


def alternate(s: Step, x: Value, name: str, first: int, of: int, count: int, width: int) -> Value:
    """x [T, count*of*width] -> [T, count*width]: every `of`-th piece of `width` columns, from number `first` on."""
    return s.emit("slice_columns", x, name=name, start=first * width, width=width, stride=of * width, count=count)


def head_norm(s: Step, x: Value, w: Weights, name: str, heads: int) -> Value:
    """x [T, heads*D] -> the same shape, each head normalised: an RMS norm all heads share, or each head's own layer norm.

    A family whose heads are normalised without weights has no name for them.
    """
    d, eps = s.config.head_dim, s.config.norm_eps
    if s.norm == "rms_norm":
        weight = w.vector(f"attn.{name}", d) if f"attn.{name}" in w.names else ones(s, d)
        return s.emit("head_norm", x, weight, name=name, heads=heads, eps=eps)
    return s.emit("head_layer_norm", x, w.vectors(f"attn.{name}", heads, d), name=name, heads=heads, eps=eps)


def append(s: Step, k: Value, v: Value) -> None:
    """Adds keys and values [T, Hk*D] to the layer's cache."""
    c = s.config
    s.kv = s.emit("kv_append", s.kv, k, v, name="kv", layer=s.layer, kv_heads=c.kv_heads, head_dim=c.head_dim)


def attend(s: Step, q: Value, layer: int, local: bool = False, sinks: Value | None = None) -> Value:
    """q [T, H*D], sinks [H] -> [T, H*D]: attention to the keys and values in the cache of `layer`."""
    c = s.config
    s.windowed = s.windowed or local
    window = {"window": c.window, **({"chunked": True} if c.chunked else {})} if local and c.window else {}
    softcap = {"softcap": c.softcap} if c.softcap else {}
    of = dict(layer=layer, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, scale=c.attention_scale)
    scores = s.emit("attention_scores", q, s.kv, name="scores", **of, **softcap)
    of_heads = s.slopes if sinks is None else sinks
    slopes = {"alibi": True} if of_heads is not None and of_heads is s.slopes else {}
    others = [] if of_heads is None else [of_heads]
    probabilities = s.emit("softmax_causal", scores, s.positions, *others, name="probabilities", **window, **slopes)
    return s.emit("attention_values", probabilities, s.kv, name="mixed", **of)


def swiglu(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: down(silu(gate(x)) * up(x)).  arXiv:2002.05202."""
    return _gated(s, x, w, "silu", FEED_FORWARD, s.config.intermediate)


def geglu(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: down(gelu(gate(x)) * up(x)).  arXiv:2002.05202."""
    return _gated(s, x, w, "gelu", FEED_FORWARD, s.config.intermediate)


def temperatures(s: Step, t: Temperature) -> Value:
    """Factors of queries, one for every `length` positions of the context."""
    if s.temperatures is None:
        with localcontext(prec=40):
            count = -(-(s.config.context + t.offset) // t.length)
            values = [float(1 + Decimal(t.beta) * Decimal(1 + i).ln()) for i in range(count)]
        s.temperatures = s.builder.constant("temperatures", np.array(values, np.float32))
    return s.temperatures


def gated(s: Step, x: Value, w: Weights, function: str) -> Value:
    """x [T, C] -> [T, C]: down(function(gate(x)) * up(x)), of "silu", "gelu" (tanh form) and "gelu_erf"."""
    return _gated(s, x, w, function, FEED_FORWARD, s.config.intermediate)


def mlp(s: Step, x: Value, w: Weights, function: str = "gelu", *parameters: Value) -> Value:
    """x [T, C] -> [T, C]: down(function(up(x))), of "gelu" (tanh form), "gelu_erf", "relu2", or "xielu" and its parameters."""
    c = s.config
    activated = s.emit(function, linear(s, x, w, "ffn.up", c.intermediate, c.hidden), *parameters)
    return linear(s, activated, w, "ffn.down", c.hidden, c.intermediate)


FEED_FORWARD = ("ffn.gate", "ffn.up", "ffn.down")
SHARED = ("ffn.shared_gate", "ffn.shared_up", "ffn.shared_down")


def _gated(s: Step, x: Value, w: Weights, function: str, names: tuple[str, str, str], intermediate: int) -> Value:
    """The block of these three matrices; the first two may be one."""
    gate, up = linears(
        s, x, w, "ffn.gate_up" if names == FEED_FORWARD else "", dict.fromkeys(names[:2], intermediate), s.config.hidden
    )
    product = s.emit("mul", s.emit(function, gate), up, name=f"{function}_mul")
    return linear(s, product, w, names[2], s.config.hidden, intermediate)


def mixture(
    s: Step, x: Value, w: Weights, *, normalize: bool, clamped: bool = False, gate: str = "softmax", weigh_x: bool = False
) -> Value:
    """x [T, C] -> [T, C]: a token's experts, and where the checkpoint has it the network that every token passes through.

    The output of that is multiplied by the sigmoid of a logit of its own where there is a "ffn.shared_router" (Qwen 2).
    """
    routed = experts(s, x, w, normalize=normalize, clamped=clamped, gate=gate, weigh_x=weigh_x)
    e = s.config.experts
    if e is None or not e.shared:
        return routed
    shared = _gated(s, x, w, "silu", SHARED, e.shared)
    if "ffn.shared_router" in w.names:
        logit = s.emit("matmul", x, s.emit("dequantize", w.row("ffn.shared_router", s.config.hidden)), name="shared_logit")
        shared = s.emit("gate_rows", shared, logit, name="shared")
    return s.emit("add", routed, shared, name="ffn")


def experts(
    s: Step, x: Value, w: Weights, *, normalize: bool, clamped: bool = False, gate: str = "softmax", weigh_x: bool = False,
    logits: Value | None = None, function: str = "",
) -> Value:  # fmt: skip
    """x [T, C] -> [T, C]: the weighted sum of the few SwiGLU experts a router chose for each token.  arXiv:2401.04088.

    normalize: the weights of a token sum to one; gate: how a logit becomes a score; unless the checkpoint says otherwise.
    clamped: SwiGLU as gpt-oss has it, arXiv:2508.10925. weigh_x: weights multiply what an expert gets, in the place of what it
    gives. logits: what the router says, where it does not read x as it is. function: in the place of SiLU. Experts have biases
    and factors where the checkpoint does.
    """
    c, e = s.config, s.config.experts
    if e is None:
        raise MalformedFileError(f"{Keys(w.checkpoint).name('experts')} is missing or 0")
    logits = linear(s, x, w, "ffn.router", e.count, c.hidden) if logits is None else logits
    ids, weights = route(s, logits, w, e, normalize, gate)
    if "ffn.expert_factors" in w.names:
        weights = s.emit("scale_by_id", weights, ids, w.vector("ffn.expert_factors", e.count), name="expert_weights")
    sizes = {"gate": (e.intermediate, c.hidden), "up": (e.intermediate, c.hidden), "down": (c.hidden, e.intermediate)}
    matrices = [w.stack(f"ffn.{name}_experts", e.count, *size) for name, size in sizes.items()]
    biased = any(w.has(f"ffn.{name}_experts.bias") for name in sizes)
    biases = [w.vectors(f"ffn.{name}_experts.bias", e.count, rows) for name, (rows, _) in sizes.items() if biased]
    function = "clamped_silu" if clamped else function
    how = {**({"function": function} if function else {}), **({"weigh": "x"} if weigh_x else {})}
    return s.emit("experts", x, ids, weights, *matrices, *biases, **how)


def route(s: Step, logits: Value, w: Weights, e: Experts, normalize: bool, gate: str) -> tuple[Value, ...]:
    """logits [T, E] -> ids [T, k] and weights [T, k] of the experts used; gate, normalize as of `experts`."""
    bias = w.optional_vector("ffn.choice_bias", e.count)
    groups = {"groups": (e.groups.count, e.groups.used, e.groups.best)} if e.groups else {}
    jitter = {"jitter": e.jitter} if e.jitter else {}
    return s.builder.emit_many(
        "router", logits, *([] if bias is None else [bias]), names=(f"expert_ids.{s.layer}", f"expert_weights.{s.layer}"),
        used=e.used, gate=e.gate or gate, normalize=normalize if e.normalize is None else e.normalize, scale=e.scale,
        **groups, **jitter,
    )  # fmt: skip


def feed_forward(s: Step, x: Value, w: Weights, *, normalize: bool = True, gate: str = "softmax") -> Value:
    """x [T, C] -> [T, C]: SwiGLU, or in layers with experts a mixture, whose weights sum to one unless `normalize` is off."""
    return mixture(s, x, w, normalize=normalize, gate=gate) if s.config.has_experts(s.layer) else swiglu(s, x, w)


def residual(s: Step, x: Value, branch: Value) -> Value:
    """x + residual_scale * branch."""
    factor = s.config.residual_scale
    if factor != 1.0:
        branch = s.emit("scale", branch, name="branch", factor=factor)
    return s.emit("add", x, branch, name="x")
