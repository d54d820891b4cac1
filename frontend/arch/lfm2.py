"""LFM2: a short convolution in most layers, attention with normalised heads in the others.

https://huggingface.co/docs/transformers/model_doc/lfm2
"""

from dataclasses import replace

from llmc.frontend.arch import ATTENTION_NAMES, Architecture
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.layers_recurrent import short_convolution
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

MAX_TAPS = 64


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    recurrent, normed = s.config.is_recurrent(s.layer), norm(s, x, w, "attn.norm")
    x = residual(s, x, short_convolution(s, normed, w) if recurrent else attention(s, normed, w, qk_norm=True))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    return replace(config, conv_taps=keys.integer("shortconv.l_cache", low=2, high=MAX_TAPS))


LFM2 = Architecture(
    gguf="lfm2",
    papers="transformers documentation, model_doc/lfm2",
    weights={
        "norm": ("token_embd_norm.weight", "model.embedding_norm.weight"),
        "attn.norm": ("blk.{i}.attn_norm.weight", "model.layers.{i}.operator_norm.weight"),
        "ffn.norm": ("blk.{i}.ffn_norm.weight", "model.layers.{i}.ffn_norm.weight"),
        "ffn.gate": ("blk.{i}.ffn_gate.weight", "model.layers.{i}.feed_forward.w1.weight"),
        "ffn.up": ("blk.{i}.ffn_up.weight", "model.layers.{i}.feed_forward.w3.weight"),
        "ffn.down": ("blk.{i}.ffn_down.weight", "model.layers.{i}.feed_forward.w2.weight"),
    },
    attention={
        **ATTENTION_NAMES,
        "attn.out": ("blk.{i}.attn_output.weight", "model.layers.{i}.self_attn.out_proj.weight"),
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_layernorm.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_layernorm.weight"),
    },
    recurrent={
        "conv.in": ("blk.{i}.shortconv.in_proj.weight", "model.layers.{i}.conv.in_proj.weight"),
        "conv.taps": ("blk.{i}.shortconv.conv.weight", "model.layers.{i}.conv.conv.weight"),
        "conv.out": ("blk.{i}.shortconv.out_proj.weight", "model.layers.{i}.conv.out_proj.weight"),
    },
    rope="half",
    block=block,
    adapt=adapt,
)
