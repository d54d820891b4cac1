"""Gemma 3 (text): Gemma 2's block without caps, heads of q and k normalised, five layers with a window and one without.

Layers with a window rotate by another base, without scaling.  arXiv:2503.19786.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import DECODER, Architecture
from llmc.frontend.arch.gemma2 import DIALECT, NORMS, attention_scale
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import LOCAL_ROPE_BASE
from llmc.frontend.layers import Step, attention, geglu, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 6
WRAPPED = "Gemma3ForConditionalGeneration"
LAYERS_27B = 62  # the size whose query scale is not that of its heads; GGUF files do not say so


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    mixed = attention(s, norm(s, x, w, "attn.norm"), w, qk_norm=True, local=s.local(WINDOW_EVERY))
    x = residual(s, x, norm(s, mixed, w, "attn.post_norm"))
    return residual(s, x, norm(s, geglu(s, norm(s, x, w, "ffn.norm"), w), w, "ffn.post_norm"))


def adapt(config: Config, keys: Keys) -> Config:
    """Embeddings are scaled; the window must be stated."""
    keys.integer("window")
    scale = attention_scale(config, keys, LAYERS_27B)
    base = config.local_rope_base or LOCAL_ROPE_BASE
    return replace(config, embedding_scale=math.sqrt(config.hidden), attention_scale=scale, local_rope_base=base)


def implied(keys: Keys) -> Mapping[str, Any]:
    """Directories of models that also see say of the language model only what differs from these."""
    if keys.checkpoint.architecture != WRAPPED:
        return {}
    return {
        "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 131072,
        "sliding_window": 4096, "sliding_window_pattern": WINDOW_EVERY, "vocab_size": 262208,
    }  # fmt: skip


GEMMA3 = Architecture(
    gguf="gemma3",
    papers="arXiv:2503.19786",
    weights={
        **DECODER,
        **NORMS,
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
    },
    rope="half",
    block=block,
    hf=("Gemma3ForCausalLM", WRAPPED),
    implied=implied,
    dialect=replace(DIALECT, rope_base=1e6, local_rope=True),
    adapt=adapt,
)
