"""LFM2: a short convolution in most layers, attention with normalised heads in the others.

https://huggingface.co/docs/transformers/model_doc/lfm2
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import ATTENTION_NAMES, Architecture, biases
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.layers_recurrent import short_convolution
from llmc.frontend.recurrent import MAX_TAPS
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

MAX_LAYERS = 1 << 16


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    recurrent, normed = s.config.is_recurrent(s.layer), norm(s, x, w, "attn.norm")
    x = residual(s, x, short_convolution(s, normed, w) if recurrent else attention(s, normed, w, qk_norm=True))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, gate="sigmoid"))


def adapt(config: Config, keys: Keys) -> Config:
    if keys.gguf:
        return replace(config, conv_taps=keys.integer("shortconv.l_cache", low=2, high=MAX_TAPS))
    taps = keys.checkpoint.integer("conv_L_cache", 2, MAX_TAPS, 3)
    return replace(config, conv_taps=taps, intermediate=_intermediate(keys, config.intermediate))


def _intermediate(keys: Keys, stated: int) -> int:
    """What the feed-forward block is as wide as: by default, where there are no experts, the file states more than that."""
    checkpoint = keys.checkpoint
    if checkpoint.architecture not in LFM2.hf:
        return stated
    stated = checkpoint.integer("block_ff_dim", 1, MAX_DIM, stated)
    if not checkpoint.flag("block_auto_adjust_ff_dim", True):
        return stated
    factor = checkpoint.number("block_ffn_dim_multiplier", 1.0, low=1e-3, high=1e3)
    multiple = checkpoint.integer("block_multiple_of", 1, MAX_DIM, 256)
    return -(-int(factor * int(2 * stated / 3)) // multiple) * multiple


def implied(keys: Keys) -> Mapping[str, Any]:
    """Old files list the layers with attention."""
    checkpoint, layers = keys.checkpoint, keys.integer("layers", high=MAX_LAYERS)
    full = set(map(int, checkpoint.integers("full_attn_idxs", 0, layers - 1, tuple(range(layers)))))
    return {
        "layer_types": ["full_attention" if i in full else "conv" for i in range(layers)],
        "rms_norm_eps": checkpoint.number("norm_eps", 1e-5, low=0.0, high=1.0),
        "rope_theta": 1e6, "tie_word_embeddings": checkpoint.flag("tie_embedding", True), "conv_bias": False,
    }  # fmt: skip


CONV_NAMES = {
    "conv.in": ("blk.{i}.shortconv.in_proj.weight", "model.layers.{i}.conv.in_proj.weight"),
    "conv.taps": ("blk.{i}.shortconv.conv.weight", "model.layers.{i}.conv.conv.weight"),
    "conv.out": ("blk.{i}.shortconv.out_proj.weight", "model.layers.{i}.conv.out_proj.weight"),
}
CONV = tuple(CONV_NAMES)

LFM2 = Architecture(
    gguf="lfm2",
    papers="transformers documentation, model_doc/lfm2",
    weights={
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
        **biases(*CONV, of=CONV_NAMES),
        **CONV_NAMES,
    },
    rope="half",
    block=block,
    hf=("Lfm2ForCausalLM",),
    hf_biases={"conv_bias": CONV},
    dialect=Dialect(recurrent=("conv",), tied=True),
    model={"norm": ("token_embd_norm.weight", "model.embedding_norm.weight")},
    implied=implied,
    adapt=adapt,
)
