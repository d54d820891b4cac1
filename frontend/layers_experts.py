"""Mixtures of experts that are no gated networks. Notation as in layers.py."""

from __future__ import annotations

from llmc.errors import MalformedFileError
from llmc.frontend.config import Keys
from llmc.frontend.experts import Experts
from llmc.frontend.layers import Step, linear, route
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def ungated_mixture(s: Step, x: Value, w: Weights, function: str, *, gate: str, normalize: bool) -> Value:
    """x [T, C] -> [T, C]: down(function(up(x))) of a token's experts, and where there is one of a network of all tokens.

    Experts may work on fewer features, which x is brought to before them and their sum back from after: arXiv:2512.20848.
    gate, normalize: as of layers.mixture.
    """
    c, e = s.config, s.config.experts
    if e is None:
        raise MalformedFileError(f"{Keys(w.checkpoint).name('experts')} is missing or 0")
    ids, weights = route(s, linear(s, x, w, "ffn.router", e.count, c.hidden), w, e, normalize, gate)
    y = _routed(s, x, w, e, ids, weights, function)
    if not e.shared:
        return y
    activated = s.emit(function, linear(s, x, w, "ffn.shared_up", e.shared, c.hidden), name="shared")
    return s.emit("add", y, linear(s, activated, w, "ffn.shared_down", c.hidden, e.shared), name="ffn")


def _routed(s: Step, x: Value, w: Weights, e: Experts, ids: Value, weights: Value, function: str) -> Value:
    """x [T, C] -> [T, C]: what the experts of each token make of it."""
    hidden, width = s.config.hidden, e.latent or s.config.hidden
    if e.latent:
        x = linear(s, x, w, "ffn.latent_down", width, hidden)
    up = w.stack("ffn.up_experts", e.count, e.intermediate, width)
    down = w.stack("ffn.down_experts", e.count, width, e.intermediate)
    y = s.emit("ungated_experts", x, ids, weights, up, down, function=function)
    return linear(s, y, w, "ffn.latent_up", hidden, width) if e.latent else y
