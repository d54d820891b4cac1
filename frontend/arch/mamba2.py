"""Mamba-2: state space layers alone, each on a norm of its own.  arXiv:2405.21060."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import Architecture, mamba2_names
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.derived import negated_exp
from llmc.frontend.layers import Step, norm, residual
from llmc.frontend.layers_recurrent import mamba2
from llmc.frontend.recurrent import gguf_ssm, huggingface_ssm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

CONTEXT = 1 << 20  # no limit is known; converters write this one
HF_SIZES = {"state": "state_size", "taps": "conv_kernel", "heads": "num_heads", "groups": "n_groups", "head_dim": "head_dim"}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    return residual(s, x, mamba2(s, norm(s, x, w, "attn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    if keys.gguf:
        return replace(config, ssm=gguf_ssm(keys))
    inner = int(keys.checkpoint.number("expand", 2.0, low=2**-10, high=2**10) * config.hidden)
    return replace(config, ssm=huggingface_ssm(keys.checkpoint, HF_SIZES, min(inner, MAX_DIM)))


def implied(keys: Keys) -> Mapping[str, Any]:
    eps = keys.checkpoint.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0)
    return {"rms_norm_eps": eps, "max_position_embeddings": CONTEXT, "use_conv_bias": True}


MAMBA2 = Architecture(
    gguf="mamba2",
    papers="arXiv:2405.21060",
    weights={"attn.norm": ("blk.{i}.attn_norm.weight", "backbone.layers.{i}.norm.weight")},
    recurrent=mamba2_names("backbone.layers.{i}.mixer"),
    rope="half",
    block=block,
    hf=("Mamba2ForCausalLM",),
    hf_biases={"use_conv_bias": ("ssm.conv",), "use_bias": ("ssm.in", "ssm.out")},
    attends=False,
    model={
        "embedding": ("token_embd.weight", "backbone.embeddings.weight"),
        "norm": ("output_norm.weight", "backbone.norm_f.weight"),
    },
    hf_stored={"ssm.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    adapt=adapt,
)
