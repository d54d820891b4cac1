"""Rows that each layer has for a token besides those from the layer before.  Notation as in layers.py, P features for a layer.

A table has them for the tokens of a vocabulary, and a projection of the embedding is added.
https://ai.google.dev/gemma/docs/gemma-3n
"""

from __future__ import annotations

import math

from llmc.frontend.layers import Step, alternate, linear, norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

NAMES = {
    "per_layer.embedding": ("per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"),
    "per_layer.proj": ("per_layer_model_proj.weight", "model.per_layer_model_projection.weight"),
    "per_layer.norm": ("per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"),
}
LAYER_NAMES = {
    "per_layer.gate": ("blk.{i}.inp_gate.weight", "model.layers.{i}.per_layer_input_gate.weight"),
    "per_layer.out": ("blk.{i}.proj.weight", "model.layers.{i}.per_layer_projection.weight"),
    "per_layer.post_norm": ("blk.{i}.post_norm.weight", "model.layers.{i}.post_per_layer_input_norm.weight"),
}


def per_layer_rows(s: Step, x: Value, tokens: Value, w: Weights) -> Value:
    """x [T, C] the scaled embedding -> [T, layers*P]: (table + norm(x @ projection / sqrt(C))) / sqrt(2)."""
    c = s.config
    width, known = c.layers * c.per_layer, w.rows_of("per_layer.embedding")
    table = w.matrix("per_layer.embedding", known, width)
    ids = s.emit("known_ids", tokens, name="known", count=known) if known < w.rows_of("embedding") else tokens
    rows = s.emit("scale", s.emit("embedding", ids, table, name="per_layer"), name="per_layer", factor=math.sqrt(c.per_layer))
    projected = linear(s, x, w, "per_layer.proj", width, c.hidden)
    projected = s.emit("scale", projected, name="per_layer.proj", factor=c.hidden**-0.5)
    weight = w.vector("per_layer.norm", c.per_layer)
    projected = s.emit("head_norm", projected, weight, name="per_layer.norm", heads=c.layers, eps=c.norm_eps)
    return s.emit("scale", s.emit("add", projected, rows, name="per_layer"), name="per_layer", factor=0.5**0.5)


def per_layer_branch(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: norm(out(gelu(gate(x)) * the layer's rows))."""
    c = s.config
    assert s.per_layer is not None, "a family with rows for each layer makes them"
    mine = alternate(s, s.per_layer, "mine", s.layer, c.layers, 1, c.per_layer)
    gate = linear(s, x, w, "per_layer.gate", c.per_layer, c.hidden)
    gated = s.emit("mul", s.emit("gelu", gate), mine, name="gelu_mul")
    return norm(s, linear(s, gated, w, "per_layer.out", c.hidden, c.per_layer), w, "per_layer.post_norm")
