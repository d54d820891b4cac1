"""Layers that keep a state of fixed size instead of keys and values. Notation as in layers.py."""

from __future__ import annotations

from llmc.frontend.layers import Step, linear, linears
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


def stateful(s: Step, op: str, *inputs: Value, **attrs: object) -> Value:
    """The result of an op that reads and writes the layer's state."""
    names = (f"{op}.{s.layer}", f"state.{op}.{s.layer}")
    y, s.kv = s.builder.emit_many(op, s.kv, *inputs, names=names, layer=s.layer, **attrs)
    return y


def optional(w: Weights, name: str, size: int) -> list[Value]:
    """The vector of that name, if there is one."""
    vector = w.optional_vector(name, size)
    return [] if vector is None else [vector]
