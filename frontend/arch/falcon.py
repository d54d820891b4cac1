"""Falcon: attention and feed-forward side by side on one layer norm, or on one each; queries of a group with their key and value.

arXiv:2311.16867, arXiv:2306.01116. Small models have sequential blocks, biases, and ALiBi, whose slopes are scaled as scores are.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.alibi import slopes
from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.checkpoint import Tensor
from llmc.frontend.config import Config, Keys
from llmc.frontend.derived import Rewritten, grouped_qkv, rows_in_order
from llmc.frontend.dialect import GELUS, Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

LAYER = "transformer.h.{i}."
NAMES = {
    "attn.norm": ("blk.{i}.attn_norm.weight", f"{LAYER}input_layernorm.weight"),
    "attn.own_norm": ("blk.{i}.attn_norm_2.weight", f"{LAYER}ln_attn.weight"),
    "attn.qkv": ("blk.{i}.attn_qkv.weight", f"{LAYER}self_attention.query_key_value.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", f"{LAYER}self_attention.dense.weight"),
    "ffn.own_norm": ("", f"{LAYER}ln_mlp.weight"),
    "ffn.norm": ("", f"{LAYER}post_attention_layernorm.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}mlp.dense_h_to_4h.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}mlp.dense_4h_to_h.weight"),
}
MODEL = {
    "embedding": ("token_embd.weight", "transformer.word_embeddings.weight"),
    "norm": ("output_norm.weight", "transformer.ln_f.weight"),
    "norm.bias": ("output_norm.bias", "transformer.ln_f.bias"),
}
NORMS = ("attn.norm", "attn.own_norm", "ffn.own_norm", "ffn.norm")
LINEARS = ("attn.qkv", "attn.out", "ffn.up", "ffn.down")


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]. In GGUF files the norm of the feed-forward is the one that all models have."""
    own = w.has("attn.own_norm")
    n = norm(s, x, w, "attn.own_norm" if own else "attn.norm")
    y = residual(s, x, attention(s, n, w))
    if not s.config.parallel:
        n = norm(s, y, w, "ffn.norm")
    elif own:
        n = norm(s, x, w, "ffn.own_norm" if w.has("ffn.own_norm") else "attn.norm")
    return residual(s, y, mlp(s, n, w, s.config.activation or "gelu_erf"))


def adapt(config: Config, keys: Keys) -> Config:
    """GGUF files are of models with parallel blocks and without ALiBi."""
    if keys.gguf:
        return replace(config, parallel=True)
    flag = keys.checkpoint.flag
    new = flag("new_decoder_architecture", False)
    config = replace(config, parallel=new or flag("parallel_attn", True))
    alibi = flag("alibi", False)
    return replace(config, rope_dims=0, slopes=slopes(config.heads, scale=config.attention_scale)) if alibi else config


def implied(keys: Keys) -> Mapping[str, Any]:
    """Keys and values are shared by all heads, or by groups of them in the new architecture."""
    heads, flag = keys.integer("heads"), keys.checkpoint.flag
    shared = flag("multi_query", True) and not flag("new_decoder_architecture", False)
    grouped = keys.checkpoint.integer("num_kv_heads", 1, heads, heads) if flag("new_decoder_architecture", False) else heads
    width = {"ffn_hidden_size": 4 * keys.integer("hidden"), "max_position_embeddings": 2048}
    return {**width, "num_key_value_heads": 1 if shared else grouped}


def groups_together(tensor: Tensor, config: Config) -> Rewritten:
    """Stored group by group, each with its queries, key and value."""
    return rows_in_order(tensor, grouped_qkv(config.kv_heads, config.heads // config.kv_heads, config.head_dim))


FALCON = Architecture(
    gguf="falcon",
    papers="arXiv:2311.16867, arXiv:2306.01116",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("FalconForCausalLM",),
    hf_biases={ALWAYS: (*NORMS, "norm"), "bias": LINEARS},
    dialect=Dialect(activation_key="activation", activations=GELUS, tied=True),
    norm="layer_norm",
    model=MODEL,
    variant=dict.fromkeys(NORMS, ""),
    hf_prefix="transformer.",
    hf_stored=dict.fromkeys(("attn.qkv", "attn.qkv.bias"), groups_together),
    implied=implied,
    adapt=adapt,
)
