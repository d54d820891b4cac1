"""Gemma 2: norms before and after attention and feed-forward, GeGLU, every second layer with a window, caps on scores and logits.

arXiv:2408.00118.
"""

import math
from dataclasses import replace

from llmc.frontend.arch import DECODER, Architecture
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import GELU_TANH, Dialect
from llmc.frontend.layers import Step, attention, geglu, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 2
LAYERS_27B = 46  # the size whose query scale is not that of its heads; GGUF files do not say so


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    mixed = attention(s, norm(s, x, w, "attn.norm"), w, local=s.local(WINDOW_EVERY))
    x = residual(s, x, norm(s, mixed, w, "attn.post_norm"))
    return residual(s, x, norm(s, geglu(s, norm(s, x, w, "ffn.norm"), w), w, "ffn.post_norm"))


def adapt(config: Config, keys: Keys) -> Config:
    """Embeddings are scaled; window and caps must be stated."""
    for key in ("softcap", "logit_softcap"):
        keys.number(key, low=1e-3, high=1e6)
    keys.integer("window")
    scale = attention_scale(config, keys, LAYERS_27B)
    return replace(config, embedding_scale=math.sqrt(config.hidden), attention_scale=scale)


def attention_scale(config: Config, keys: Keys, layers_27b: int) -> float:
    """What scores are multiplied by: config.json says it, a GGUF file leaves it to the number of layers."""
    if not keys.gguf:
        return float(keys.number("query_scale", low=1e-3, high=1e6) ** -0.5)
    return float((config.hidden / config.heads if config.layers == layers_27b else config.head_dim) ** -0.5)


NORMS = {
    "attn.post_norm": ("blk.{i}.post_attention_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", "model.layers.{i}.pre_feedforward_layernorm.weight"),
    "ffn.post_norm": ("blk.{i}.post_ffw_norm.weight", "model.layers.{i}.post_feedforward_layernorm.weight"),
}
DIALECT = Dialect(activation_key="hidden_activation", activations=GELU_TANH, tied=True, windows=True, plus_one=True)

GEMMA2 = Architecture(
    gguf="gemma2",
    papers="arXiv:2408.00118",
    weights={**DECODER, **NORMS},
    rope="half",
    block=block,
    hf=("Gemma2ForCausalLM",),
    dialect=DIALECT,
    adapt=adapt,
)
