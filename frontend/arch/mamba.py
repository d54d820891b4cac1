"""Mamba and Falcon Mamba: state space layers alone, each on a norm of its own.  arXiv:2312.00752, arXiv:2410.05355."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import ALWAYS, Architecture, mamba_names
from llmc.frontend.arch.mamba2 import implied as implied_by_mamba2
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.derived import negated_exp
from llmc.frontend.layers import Step, norm, residual
from llmc.frontend.layers_recurrent import mamba
from llmc.frontend.recurrent import MAX_FEATURES, MAX_TAPS, Ssm, gguf_mamba
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

FALCON = "FalconMambaForCausalLM"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    return residual(s, x, mamba(s, norm(s, x, w, "attn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    return replace(config, ssm=_gguf(config, keys) if keys.gguf else _huggingface(config, keys.checkpoint))


def _gguf(config: Config, keys: Keys) -> Ssm:
    normalised = keys.checkpoint.flag(keys.name("ssm.dt_b_c_rms"), False)
    return replace(gguf_mamba(keys), norm_eps=config.norm_eps if normalised else 0.0)


def _huggingface(config: Config, checkpoint: Checkpoint) -> Ssm:
    falcon = checkpoint.architecture == FALCON
    auto = checkpoint.keys.get("time_step_rank", "auto") == "auto"
    return Ssm(
        inner=checkpoint.integer("intermediate_size", 1, MAX_DIM, checkpoint.integer("expand", 1, 1024, 2) * config.hidden),
        state=checkpoint.integer("state_size", 1, MAX_FEATURES),
        taps=checkpoint.integer("conv_kernel", 2, MAX_TAPS),
        dt_rank=-(-config.hidden // 16) if auto else checkpoint.integer("time_step_rank", 1, MAX_DIM),
        norm_eps=checkpoint.number("mixer_rms_eps", 1e-6, low=1e-12, high=1.0) if falcon else 0.0,
    )


def implied(keys: Keys) -> Mapping[str, Any]:
    return {**implied_by_mamba2(keys), "tie_word_embeddings": True}


LAYER = "backbone.layers.{i}"
MAMBA = Architecture(
    gguf="mamba",
    papers="arXiv:2312.00752, arXiv:2410.05355",
    weights={"attn.norm": ("blk.{i}.attn_norm.weight", f"{LAYER}.norm.weight")},
    recurrent=mamba_names(f"{LAYER}.mixer"),
    rope="half",
    block=block,
    hf=("MambaForCausalLM", FALCON),
    hf_biases={"use_conv_bias": ("ssm.conv",), "use_bias": ("ssm.in", "ssm.out"), ALWAYS: ("ssm.dt",)},
    attends=False,
    model={
        "embedding": ("token_embd.weight", "backbone.embeddings.weight"),
        "norm": ("output_norm.weight", "backbone.norm_f.weight"),
    },
    hf_stored={"ssm.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    adapt=adapt,
)
