"""Jamba: Mamba in most layers, attention without positions in the others, experts in every second.  arXiv:2403.19887."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import ALWAYS, ATTENTION, ATTENTION_NAMES, EXPERTS, Architecture, mamba_names, without
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.derived import negated_exp
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.layers_recurrent import mamba
from llmc.frontend.recurrent import MAX_FEATURES, MAX_TAPS, Ssm, gguf_mamba
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

CLASSES = ("JambaForCausalLM",)
LAYER = "model.layers.{i}"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]. A token's expert weights are shares of all experts."""
    normed = norm(s, x, w, "attn.norm")
    x = residual(s, x, mamba(s, normed, w) if s.config.is_recurrent(s.layer) else attention(s, normed, w))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates. B, C and what step sizes are made of are normalised as everything is."""
    ssm = gguf_mamba(keys) if keys.gguf else _huggingface(config, keys)
    return replace(_with_experts(config, keys), rope_dims=0, ssm=replace(ssm, norm_eps=config.norm_eps))


def _with_experts(config: Config, keys: Keys) -> Config:
    """GGUF files do not say which layers have experts, but by having them."""
    e, checkpoint = config.experts, keys.checkpoint
    if e is None:
        return config
    if keys.gguf:
        router = EXPERTS["ffn.router"][0]
        sparse = tuple(router.format(i=i) in checkpoint.tensors for i in range(config.layers))
    else:
        sparse = _every(keys, "expert_layer", config.layers, 2, 1)
    return replace(config, experts=replace(e, layers=sparse) if any(sparse) else None)


def _huggingface(config: Config, keys: Keys) -> Ssm:
    checkpoint = keys.checkpoint
    auto = checkpoint.keys.get("mamba_dt_rank", "auto") == "auto"
    return Ssm(
        inner=checkpoint.integer("mamba_expand", 1, 1024, 2) * config.hidden,
        state=checkpoint.integer("mamba_d_state", 1, MAX_FEATURES, 16),
        taps=checkpoint.integer("mamba_d_conv", 2, MAX_TAPS, 4),
        dt_rank=-(-config.hidden // 16) if auto else checkpoint.integer("mamba_dt_rank", 1, MAX_DIM),
    )


def _every(keys: Keys, name: str, layers: int, period: int, offset: int) -> tuple[bool, ...]:
    """For each layer whether it is number `offset` of so many in a row."""
    period = keys.checkpoint.integer(f"{name}_period", 1, MAX_DIM, period)
    offset = keys.checkpoint.integer(f"{name}_offset", 0, period - 1, min(offset, period - 1))
    return tuple(i % period == offset for i in range(layers))


def implied(keys: Keys) -> Mapping[str, Any]:
    attends = _every(keys, "attn_layer", keys.integer("layers", high=1 << 16), 8, 4)
    return {"layer_types": ["full_attention" if here else "mamba" for here in attends], "mamba_conv_bias": True}


JAMBA = Architecture(
    gguf="jamba",
    papers="arXiv:2403.19887",
    weights={
        **without(*ATTENTION),
        "ffn.norm": ("blk.{i}.ffn_norm.weight", f"{LAYER}.pre_ff_layernorm.weight"),
        "ffn.gate": ("blk.{i}.ffn_gate.weight", f"{LAYER}.feed_forward.gate_proj.weight"),
        "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}.feed_forward.up_proj.weight"),
        "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}.feed_forward.down_proj.weight"),
    },
    attention=ATTENTION_NAMES,
    recurrent={
        **mamba_names(f"{LAYER}.mamba"),
        "ssm.dt_norm": ("blk.{i}.ssm_dt_norm.weight", f"{LAYER}.mamba.dt_layernorm.weight"),
        "ssm.b_norm": ("blk.{i}.ssm_b_norm.weight", f"{LAYER}.mamba.b_layernorm.weight"),
        "ssm.c_norm": ("blk.{i}.ssm_c_norm.weight", f"{LAYER}.mamba.c_layernorm.weight"),
    },
    experts={
        "ffn.router": (EXPERTS["ffn.router"][0], f"{LAYER}.feed_forward.router.weight"),
        "ffn.gate_experts": (EXPERTS["ffn.gate_experts"][0], f"{LAYER}.feed_forward.experts.gate_proj.weight"),
        "ffn.up_experts": (EXPERTS["ffn.up_experts"][0], f"{LAYER}.feed_forward.experts.up_proj.weight"),
        "ffn.down_experts": (EXPERTS["ffn.down_experts"][0], f"{LAYER}.feed_forward.experts.down_proj.weight"),
    },
    rope="half",
    block=block,
    hf=CLASSES,
    hf_biases={"mamba_conv_bias": ("ssm.conv",), "mamba_proj_bias": ("ssm.in", "ssm.out"), ALWAYS: ("ssm.dt",)},
    dialect=Dialect(experts=ExpertKeys(CLASSES, intermediate="intermediate_size", least=2), recurrent=("mamba",)),
    model={"norm": ("output_norm.weight", "model.final_layernorm.weight")},
    hf_stored={"ssm.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    adapt=adapt,
)
