"""Several streams of rows, of which each layer works on one and predicts the others.  AltUp: arXiv:2301.13310.

Notation as in layers.py, N streams. LAuReL, a learned residual of low rank: arXiv:2411.07501.
"""

from __future__ import annotations

from llmc.frontend.config import Altup
from llmc.frontend.layers import Step, linear, norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

INPUTS = 4  # streams of all published models
LEAST = 1e-5  # of a mean square that something is divided by
ALTUP = "model.layers.{i}.altup"
LAUREL = "model.layers.{i}.laurel"

NAMES = {
    f"altup.{ours}.{j}": (f"altup_{gguf}.{j}.weight", f"model.altup_{theirs}.{j}.weight")
    for ours, gguf, theirs in (("proj", "proj", "projections"), ("unembed", "unembd_proj", "unembed_projections"))
    for j in range(INPUTS - 1)
}
LAYER_NAMES = {
    "altup.router": ("blk.{i}.altup_router.weight", f"{ALTUP}.modality_router.weight"),
    "altup.router_norm": ("blk.{i}.altup_router_norm.weight", f"{ALTUP}.router_norm.weight"),
    "altup.predict": ("blk.{i}.altup_predict_coef.weight", f"{ALTUP}.prediction_coefs.weight"),
    "altup.correct": ("blk.{i}.altup_correct_coef.weight", f"{ALTUP}.correction_coefs.weight"),
    "altup.scale": ("blk.{i}.altup_correct_scale.weight", f"{ALTUP}.correct_output_scale"),
    "laurel.left": ("blk.{i}.laurel_l.weight", f"{LAUREL}.linear_left.weight"),
    "laurel.right": ("blk.{i}.laurel_r.weight", f"{LAUREL}.linear_right.weight"),
    "laurel.norm": ("blk.{i}.laurel_post_norm.weight", f"{LAUREL}.post_laurel_norm.weight"),
}


def split(s: Step, x: Value, w: Weights) -> tuple[Value, ...]:
    """x [T, C] -> the streams: x, and projections of it that are as large."""
    c = s.config
    others = (linear(s, x, w, f"altup.proj.{j}", c.hidden, c.hidden) for j in range(INPUTS - 1))
    return (x, *(s.emit("match_magnitude", each, x, name="stream", least=LEAST) for each in others))


def merge(s: Step, streams: tuple[Value, ...], w: Weights) -> Value:
    """The streams -> [T, C]: the mean of the first and of projections of the others that are as large."""
    c, (first, *others) = s.config, streams
    total = first
    for j, stream in enumerate(others):
        projected = linear(s, stream, w, f"altup.unembed.{j}", c.hidden, c.hidden)
        total = s.emit("add", total, s.emit("match_magnitude", projected, first, name="unembedded", least=LEAST), name="x")
    return s.emit("scale", total, name="x", factor=1 / len(streams))


def predict(s: Step, streams: tuple[Value, ...], w: Weights, altup: Altup) -> tuple[Value, ...]:
    """The streams plus mixes of all of them, by coefficients that the active one says."""
    n = len(streams)
    coefficients = linear(s, _modalities(s, streams[altup.active], w), w, "altup.predict", n * n, n)
    return tuple(
        s.emit("mix_rows", coefficients, stream, *streams, name="prediction", first=j * n) for j, stream in enumerate(streams)
    )


def correct(s: Step, predictions: tuple[Value, ...], activated: Value, w: Weights, altup: Altup) -> tuple[Value, ...]:
    """The predictions plus shares of how far what the layer made of the active one lies from it."""
    n = len(predictions)
    coefficients = linear(s, _modalities(s, activated, w), w, "altup.correct", n, n)
    news = s.emit("add", activated, predictions[altup.active], name="innovation", alpha=-1.0)
    return tuple(
        s.emit("mix_rows", coefficients, prediction, news, name="corrected", first=j, plus=1.0)
        for j, prediction in enumerate(predictions)
    )


def _modalities(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, N]: tanh(router(norm(x) / C))."""
    routed = linear(s, norm(s, x, w, "altup.router_norm"), w, "altup.router", INPUTS, s.config.hidden)
    return s.emit("softcap", s.emit("scale", routed, name="routed", factor=1 / s.config.hidden), name="modalities", cap=1.0)


def laurel(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> x + norm(right(left(x)))."""
    rank = w.rows_of("laurel.left")
    low = linear(s, x, w, "laurel.left", rank, s.config.hidden)
    return s.emit("add", x, norm(s, linear(s, low, w, "laurel.right", s.config.hidden, rank), w, "laurel.norm"), name="laurel")
