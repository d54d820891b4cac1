"""GPT-2: learned positions, q, k, v in one matrix, layer norms and biases throughout, GELU without a gate.

Radford et al., Language Models are Unsupervised Multitask Learners, 2019. Hugging Face files store linears inputs first.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.arch.starcoder2 import block
from llmc.frontend.checkpoint import Tensor
from llmc.frontend.config import Config, Keys
from llmc.frontend.derived import Rewritten, transposed
from llmc.frontend.dialect import GELUS, Dialect

NAMES = {
    "attn.norm": ("blk.{i}.attn_norm.weight", "transformer.h.{i}.ln_1.weight"),
    "attn.qkv": ("blk.{i}.attn_qkv.weight", "transformer.h.{i}.attn.c_attn.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", "transformer.h.{i}.attn.c_proj.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", "transformer.h.{i}.ln_2.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", "transformer.h.{i}.mlp.c_fc.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", "transformer.h.{i}.mlp.c_proj.weight"),
}
MODEL = {
    "embedding": ("token_embd.weight", "transformer.wte.weight"),
    "positions": ("position_embd.weight", "transformer.wpe.weight"),
    "norm": ("output_norm.weight", "transformer.ln_f.weight"),
    "norm.bias": ("output_norm.bias", "transformer.ln_f.bias"),
}
LINEARS = ("attn.qkv", "attn.out", "ffn.up", "ffn.down")
UNCOMMON = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates."""
    for key, usual in () if keys.gguf else UNCOMMON.items():
        if keys.checkpoint.flag(key, usual) != usual:
            raise UnsupportedModelError(f"{keys.checkpoint.key_file}: {key} is {not usual}, which llmc cannot compile")
    return replace(config, rope_dims=0)


def implied(keys: Keys) -> Mapping[str, Any]:
    """The feed-forward is four times as wide as the rest."""
    return {"n_inner": 4 * keys.integer("hidden")}


def inputs_first(tensor: Tensor, config: Config) -> Rewritten:
    return transposed(tensor)


GPT2 = Architecture(
    gguf="gpt2",
    papers="Radford et al. 2019",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("GPT2LMHeadModel",),
    hf_biases={ALWAYS: (*NAMES, "norm")},
    dialect=Dialect(activation_key="activation_function", activations=GELUS, tied=True),
    norm="layer_norm",
    model=MODEL,
    hf_prefix="transformer.",
    hf_stored=dict.fromkeys(LINEARS, inputs_first),
    implied=implied,
    adapt=adapt,
)
