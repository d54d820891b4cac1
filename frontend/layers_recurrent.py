"""Layers that keep a state of fixed size instead of keys and values. Notation as in layers.py."""

from __future__ import annotations

from llmc.errors import MalformedFileError
from llmc.frontend.layers import Step, alternate, linear, linears, ones
from llmc.frontend.recurrent import Ssm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def short_convolution(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: out(c * conv(b * v)), where b, c and v are thirds of one product, conv a causal one of a few taps.

    https://huggingface.co/docs/transformers/model_doc/lfm2
    """
    hidden, taps = s.config.hidden, s.config.conv_taps
    b, c, v = linears(s, x, w, "conv.in", dict.fromkeys(("conv.b", "conv.c", "conv.x"), hidden), hidden)
    weights = [w.table("conv.taps", hidden, taps), *optional(w, "conv.taps.bias", hidden)]
    y = stateful(s, "gated_conv", b, c, v, *weights)
    return linear(s, y, w, "conv.out", hidden, hidden)


def mamba2(s: Step, x: Value, w: Weights, *, norm_groups: int | None = None, gate: str = "before") -> Value:
    """x [T, C] -> [T, C]: a state space whose heads have one decay per token.  Mamba-2, arXiv:2405.21060.

    The result is gated, and normalised in as many groups as B and C have, or norm_groups, where the checkpoint has weights for
    that; the gate comes "before" the norm or "after" it.
    """
    m = sizes(s)
    rows = {"ssm.z": m.inner, "ssm.xbc": m.conv_columns, "ssm.dt": m.heads}
    z, xbc, dt = linears(s, x, w, "ssm.in", rows, s.config.hidden)
    taps = [w.table("ssm.conv", m.conv_columns, m.taps), *optional(w, "ssm.conv.bias", m.conv_columns)]
    xbc = stateful(s, "causal_conv", xbc, *taps, function="silu")
    vectors = [w.flat(name, m.heads) for name in ("ssm.dt_bias", "ssm.a", "ssm.d")]
    shape = {"heads": m.heads, "head_dim": m.head_dim, "groups": m.groups, "state": m.state}
    y = stateful(s, "ssd", xbc, dt, *vectors, **shape, dt_min=m.dt_min, dt_max=m.dt_max)
    if w.has("ssm.norm"):
        weight = w.flat("ssm.norm", m.inner)
        y = s.emit("gated_norm", y, z, weight, groups=norm_groups or m.groups, gate=gate, eps=s.config.norm_eps)
    else:
        y = s.emit("mul", s.emit("silu", z), y, name="gated")
    return linear(s, y, w, "ssm.out", s.config.hidden, m.inner)


def mamba(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: a state space whose channels have a decay of their own for every feature.  Mamba, arXiv:2312.00752.

    Falcon Mamba normalises B, C and what the step sizes are made of, arXiv:2410.05355; Jamba by weights, arXiv:2403.19887.
    """
    hidden, m = s.config.hidden, sizes(s)
    values, z = linears(s, x, w, "ssm.in", {"ssm.x": m.inner, "ssm.z": m.inner}, hidden)
    taps = [w.table("ssm.conv", m.inner, m.taps), *optional(w, "ssm.conv.bias", m.inner)]
    values = stateful(s, "causal_conv", values, *taps, function="silu")
    rows = {"ssm.steps": m.dt_rank, "ssm.b": m.state, "ssm.c": m.state}
    steps, b, c = linears(s, values, w, "ssm.x_proj", rows, m.inner)
    if m.norm_eps:
        steps, b, c = (_normed(s, v, w, name) for v, name in ((steps, "ssm.dt_norm"), (b, "ssm.b_norm"), (c, "ssm.c_norm")))
    dt = linear(s, steps, w, "ssm.dt", m.inner, m.dt_rank)
    y = stateful(s, "selective_scan", values, dt, b, c, w.table("ssm.a", m.inner, m.state), w.flat("ssm.d", m.inner))
    y = s.emit("mul", s.emit("silu", z), y, name="gated")
    return linear(s, y, w, "ssm.out", hidden, m.inner)


def _normed(s: Step, x: Value, w: Weights, name: str) -> Value:
    """x [T, N] -> [T, N] by the weights of that name, where the family has such."""
    n = int(x.type.shape[-1])
    return s.emit("rms_norm", x, w.vector(name, n) if name in w.names else ones(s, n), name=name, eps=sizes(s).norm_eps)


def gated_delta(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: a gated delta rule over convolved queries, keys and values, each head normalised and then gated.

    arXiv:2412.06464. A file may have what makes queries, keys, values and gates in one matrix, and what makes steps and decays.
    """
    c = s.config
    if c.delta is None:
        raise MalformedFileError("a recurrent layer without sizes")
    d = c.delta
    columns = 2 * d.keys + d.values
    qkv, z = linears(s, x, w, "delta.in", {"delta.qkv": columns, "delta.z": d.values}, c.hidden)
    beta, dt = _steps_and_decays(s, x, w)
    qkv = stateful(s, "causal_conv", qkv, w.table("delta.conv", columns, d.taps), function="silu")
    vectors = [w.flat(name, d.heads) for name in ("delta.dt_bias", "delta.a")]
    shape = {"heads": d.heads, "key_heads": d.key_heads, "key_dim": d.key_dim, "value_dim": d.value_dim, "key_order": d.key_order}
    y = stateful(s, "delta_rule", qkv, dt, beta, *vectors, **shape)
    y = s.emit("gated_norm", y, z, w.flat("delta.norm", d.value_dim), groups=d.heads, gate="after", eps=c.norm_eps)
    return linear(s, y, w, "delta.out", c.hidden, d.values)


def _steps_and_decays(s: Step, x: Value, w: Weights) -> list[Value]:
    """[T, H] each. In one matrix they alternate: those of the heads of a key head, first the steps."""
    assert s.config.delta is not None
    d, hidden = s.config.delta, s.config.hidden
    if "delta.ba" not in w.names:
        return [linear(s, x, w, name, d.heads, hidden) for name in ("delta.b", "delta.a_step")]
    both = linear(s, x, w, "delta.ba", 2 * d.heads, hidden)
    return [alternate(s, both, name, half, 2, d.key_heads, d.heads // d.key_heads) for half, name in enumerate(("beta", "dt"))]


def sizes(s: Step) -> Ssm:
    if s.config.ssm is None:
        raise MalformedFileError("a recurrent layer without sizes")
    return s.config.ssm


def stateful(s: Step, op: str, *inputs: Value, **attrs: object) -> Value:
    """The result of an op that reads and writes the layer's state."""
    names = (f"{op}.{s.layer}", f"state.{op}.{s.layer}")
    y, s.kv = s.builder.emit_many(op, s.kv, *inputs, names=names, layer=s.layer, **attrs)
    return y


def optional(w: Weights, name: str, size: int) -> list[Value]:
    """The vector of that name, if there is one."""
    vector = w.optional_vector(name, size)
    return [] if vector is None else [vector]
