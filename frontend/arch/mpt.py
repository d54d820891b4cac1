"""MPT: ALiBi, layer norms without biases, q, k, v in one matrix, perhaps clamped, GELU without a gate.

https://huggingface.co/docs/transformers/model_doc/mpt
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.errors import UnsupportedModelError
from llmc.frontend.alibi import MAX_BIAS, slopes
from llmc.frontend.arch import Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

LAYER = "transformer.blocks.{i}."
NAMES = {
    "attn.norm": ("blk.{i}.attn_norm.weight", f"{LAYER}norm_1.weight"),
    "attn.qkv": ("blk.{i}.attn_qkv.weight", f"{LAYER}attn.Wqkv.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", f"{LAYER}attn.out_proj.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", f"{LAYER}norm_2.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}ffn.up_proj.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}ffn.down_proj.weight"),
}
MODEL = {
    "embedding": ("token_embd.weight", "transformer.wte.weight"),
    "norm": ("output_norm.weight", "transformer.norm_f.weight"),
}
UNCOMMON = {"attn_config.qk_ln": False, "attn_config.alibi": True, "no_bias": True}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, mlp(s, norm(s, x, w, "ffn.norm"), w, "gelu_erf"))


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates; the steepest slope is a key."""
    for key, usual in () if keys.gguf else UNCOMMON.items():
        if keys.checkpoint.flag(key, usual) != usual:
            raise UnsupportedModelError(f"{keys.checkpoint.key_file}: {key} is {not usual}, which llmc cannot compile")
    name = keys.name("attention.max_alibi_bias") if keys.gguf else "attn_config.alibi_bias_max"
    bias = keys.checkpoint.number(name, 0.0 if keys.gguf else MAX_BIAS, low=0.0, high=1e3)
    if not bias:
        raise UnsupportedModelError(f"{name} is 0: llmc compiles mpt with ALiBi")
    return replace(config, rope_dims=0, slopes=slopes(config.heads, bias))


def implied(keys: Keys) -> Mapping[str, Any]:
    """The feed-forward's width is a ratio; what config.json nests is read by its own name where others have it."""
    nested = keys.checkpoint.keys
    ratio = keys.checkpoint.integer("expansion_ratio", 1, 64, 4)
    found = {"attention_multiplier": nested.get("attn_config.softmax_scale"), "clip_qkv": nested.get("attn_config.clip_qkv")}
    return {"intermediate_size": ratio * keys.integer("hidden"), **found}


MPT = Architecture(
    gguf="mpt",
    papers="transformers documentation, model_doc/mpt",
    weights={**NAMES, **biases(*NAMES, of={name: gguf for name, (gguf, _) in NAMES.items()})},
    rope="half",
    block=block,
    hf=("MptForCausalLM",),
    dialect=Dialect(activations=("gelu",), tied=True),
    norm="layer_norm",
    model=MODEL,
    hf_prefix="transformer.",
    implied=implied,
    adapt=adapt,
)
