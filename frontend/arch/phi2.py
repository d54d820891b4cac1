"""Phi 1, 1.5 and 2: attention and feed-forward side by side on one layer norm, biases throughout, part of each head rotates.

arXiv:2306.11644, arXiv:2309.05463.
"""

from collections.abc import Mapping
from typing import Any

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ALWAYS, ATTENTION, DECODER, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import GELU_TANH, Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

NAMES: dict[str, str | tuple[str, str]] = {
    **{name: DECODER[name] for name in ("attn.norm", "attn.q", "attn.k", "attn.v")},
    "attn.qkv": "blk.{i}.attn_qkv.weight",
    "attn.out": ("blk.{i}.attn_output.weight", "model.layers.{i}.self_attn.dense.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.fc1.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", "model.layers.{i}.mlp.fc2.weight"),
}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    n = norm(s, x, w, "attn.norm")
    return residual(s, residual(s, x, attention(s, n, w)), mlp(s, n, w))


def adapt(config: Config, keys: Keys) -> Config:
    if not keys.gguf and keys.checkpoint.flag("qk_layernorm", False):
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: qk_layernorm is true, which llmc cannot compile")
    return config


def implied(keys: Keys) -> Mapping[str, Any]:
    return {"partial_rotary_factor": 0.5}


PHI2 = Architecture(
    gguf="phi2",
    papers="arXiv:2306.11644, arXiv:2309.05463",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("PhiForCausalLM",),
    hf_biases={ALWAYS: ("attn.norm", *ATTENTION, "ffn.up", "ffn.down", "norm", "head")},
    dialect=Dialect(activations=GELU_TANH),
    norm="layer_norm",
    model={
        "norm": ("output_norm.weight", "model.final_layernorm.weight"),
        "norm.bias": ("output_norm.bias", "model.final_layernorm.bias"),
        "head.bias": ("output.bias", "lm_head.bias"),
    },
    variant=dict.fromkeys(("attn.q", "attn.k", "attn.v", "attn.qkv"), ""),
    implied=implied,
    adapt=adapt,
)
