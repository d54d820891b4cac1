"""Llama 4, the language model: three layers that rotate and see chunks of the context, then one that does neither.

Layers that rotate normalise heads of q and k without weights; queries of the others grow with their position. Experts get what
their router's sigmoid leaves of x; beside them is a network that every token passes through.
https://huggingface.co/docs/transformers/model_doc/llama4, arXiv:2501.19399 (temperature)
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import ATTENTION, DECODER, EXPERTS, Architecture, biases, shared_experts
from llmc.frontend.arch.smollm3 import rotating_layers
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config, Keys, Temperature
from llmc.frontend.dialect import MAX_LENGTH, Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, mixture, norm, residual, swiglu
from llmc.frontend.views import fused_experts
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

NO_POSITIONS_EVERY = 4
CHUNK = 8192  # where a file does not say
UNNORMALISED = 128  # experts of the model that does not normalise q and k; GGUF files do not say so
CLASSES = ("Llama4ForCausalLM", "Llama4ForConditionalGeneration")
MODULE = "model.layers.{i}.feed_forward"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    c, n = s.config, norm(s, x, w, "attn.norm")
    rotate = c.rotating is None or c.rotating[s.layer]
    mixed = attention(
        s, n, w, rotate=rotate, norm_last=rotate and c.norm_heads, local=s.local(NO_POSITIONS_EVERY), tempered=not rotate
    )
    x = residual(s, x, mixed)
    n = norm(s, x, w, "ffn.norm")
    if not c.has_experts(s.layer):
        return residual(s, x, swiglu(s, n, w))
    return residual(s, x, mixture(s, n, w, normalize=False, gate="sigmoid", weigh_x=True))


def adapt(config: Config, keys: Keys) -> Config:
    """Feed-forward blocks are wider than experts, and directories call the width of experts by the plain name."""
    return _gguf(config, keys) if keys.gguf else _huggingface(config, keys.checkpoint, keys)


def _huggingface(config: Config, checkpoint: Checkpoint, keys: Keys) -> Config:
    e, tuned = config.experts, checkpoint.flag("attn_temperature_tuning", True)
    every = checkpoint.integer("no_rope_layer_interval", 1, MAX_LENGTH, NO_POSITIONS_EVERY)
    beta = checkpoint.number("attn_scale", 0.1, low=0.0, high=1e3)
    length = checkpoint.integer("floor_scale", 1, MAX_LENGTH, CHUNK)
    return replace(
        config,
        chunked=True,
        intermediate=checkpoint.integer("intermediate_size_mlp", 1, 1 << 24),
        experts=replace(e, shared=e.intermediate) if e else None,
        rotating=rotating_layers(keys, config.layers) or _rotating(config.layers, every),
        norm_heads=checkpoint.flag("use_qk_norm", True),
        temperature=Temperature(beta, length, 1) if tuned and beta else None,
    )


def _gguf(config: Config, keys: Keys) -> Config:
    """Files state a window of 0 where there are neither chunks nor layers without positions."""
    e, whole = config.experts, keys.has("window") and keys.integer("window", low=0, high=MAX_LENGTH) == 0
    window = keys.integer("window", low=0, high=MAX_LENGTH, default=CHUNK)
    beta = keys.number("attention.temperature_scale", low=0.0, high=1e3, default=0.1)
    length = keys.integer("attention.temperature_length", high=MAX_LENGTH, default=CHUNK)
    return replace(
        config,
        chunked=True,
        window=window if window < config.context else 0,
        experts=replace(e, shared=e.shared or e.intermediate) if e else None,
        rotating=None if whole else _rotating(config.layers, NO_POSITIONS_EVERY),
        norm_heads=e is None or e.count != UNNORMALISED,
        temperature=Temperature(beta, length, 1) if beta and not whole else None,
    )


def _rotating(layers: int, every: int) -> tuple[bool, ...]:
    return tuple((i + 1) % every != 0 for i in range(layers))


def implied(keys: Keys) -> Mapping[str, Any]:
    """Chunks by the name of windows; layers that rotate have them where the file does not list them."""
    chunk = keys.checkpoint.integer("attention_chunk_size", 1, MAX_LENGTH, CHUNK)
    layers = keys.integer("layers", high=1 << 16)
    every = keys.checkpoint.integer("no_rope_layer_interval", 1, MAX_LENGTH, NO_POSITIONS_EVERY)
    rotating = rotating_layers(keys, layers) or _rotating(layers, every)
    return {"sliding_window": chunk, "layer_types": ["chunked_attention" if each else "full_attention" for each in rotating]}


def views(checkpoint: Checkpoint, config: Config) -> Mapping[str, Derived]:
    return fused_experts(checkpoint.tensors, f"{MODULE}.experts", config.layers, transposed=True)


def _moved(name: str) -> str:
    return name.replace("model.layers.{i}.mlp", MODULE)


LLAMA4 = Architecture(
    gguf="llama4",
    papers="transformers documentation, model_doc/llama4",
    weights={**{name: (gguf, _moved(hf)) for name, (gguf, hf) in DECODER.items()}, **biases(*ATTENTION)},
    rope="interleaved",
    block=block,
    hf=CLASSES,
    hf_rope="interleaved",
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(
        windows=True,
        windowed="chunked_attention",
        rope_base=500000.0,
        experts=ExpertKeys(
            CLASSES, intermediate="intermediate_size", step="interleave_moe_layer_step", sparse="moe_layers", normalized=False,
        ),
    ),  # fmt: skip
    experts={
        **{name: (gguf, _moved(hf)) for name, (gguf, hf) in {**EXPERTS, **shared_experts("shared_expert")}.items()},
        "ffn.router": ("blk.{i}.ffn_gate_inp.weight", f"{MODULE}.router.weight"),
    },
    implied=implied,
    views=views,
    adapt=adapt,
)
