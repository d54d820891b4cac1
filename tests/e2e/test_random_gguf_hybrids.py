"""Hybrids of attention with state spaces or convolutions, from files of random models, written as llama.cpp's converters do."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.reference import Compiled
from tests.e2e.test_random_gguf import experts
from tests.e2e.tiny_gguf import Array, Convert, Named, permuted, write
from tests.e2e.tiny_transformers import build, check

ROUTED = {"expert_count": 6, "expert_used_count": 2}
NO_ROPE = {"rope.freq_base": None, "rope.dimension_count": None}
LFM2 = {
    "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1, "num_experts": 6, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "tie_word_embeddings": True,
}  # fmt: skip
LFM2_KEYS = {
    **ROUTED, "attention.head_count_kv": [0, 2, 0], "attention.layer_norm_rms_epsilon": 1e-5, "shortconv.l_cache": 3,
    "expert_feed_forward_length": 32, "leading_dense_block_count": 1, "expert_gating_func": 2,
}  # fmt: skip
JAMBA = {
    "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 0, "num_experts": 6,
    "mamba_dt_rank": 8,
}  # fmt: skip
JAMBA_KEYS = {
    **ROUTED, **NO_ROPE, "attention.head_count_kv": [0, 2, 0], "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16,
    "ssm.time_step_rank": 8,
}  # fmt: skip
GRANITE = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"], "mamba_n_heads": 8, "mamba_n_groups": 2,
    "mamba_d_state": 24, "shared_intermediate_size": 48, "embedding_multiplier": 2.0, "residual_multiplier": 0.7,
    "attention_multiplier": 0.2, "logits_scaling": 1.3, "position_embedding_type": "rope",
}  # fmt: skip
GRANITE_KEYS = {
    "attention.head_count_kv": [0, 2, 0], "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 24, "ssm.group_count": 2,
    "ssm.time_step_rank": 8, "embedding_scale": 2.0, "residual_scale": 0.7, "attention.scale": 0.2, "logit_scale": 1.3,
    "rope.scaling.finetuned": True,
}  # fmt: skip
NEMOTRON = {
    "num_hidden_layers": None, "layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"], "mamba_num_heads": 8,
    "mamba_head_dim": 12, "n_groups": 2, "ssm_state_size": 24, "head_dim": 16, "time_step_min": 1e-30,
}  # fmt: skip
NEMOTRON_KEYS = {
    "attention.head_count_kv": [0, 0, 2, 0], "attention.layer_norm_rms_epsilon": 1e-5, "feed_forward_length": [0, 96, 0, 96],
    "ssm.conv_kernel": 4, "ssm.inner_size": 96, "ssm.state_size": 24, "ssm.group_count": 2, "ssm.time_step_rank": 8,
}  # fmt: skip
NEMOTRON_MOE = {
    **NEMOTRON, "layers_block_type": ["linear_attention", "moe", "full_attention", "moe"], "n_routed_experts": 6,
    "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 48, "routed_scaling_factor": 2.5, "moe_latent_size": 48,
}  # fmt: skip
NEMOTRON_MOE_KEYS = {
    **NEMOTRON_KEYS, **ROUTED, "feed_forward_length": [0, 32, 0, 32], "expert_feed_forward_length": 32, "expert_group_count": 1,
    "expert_shared_feed_forward_length": 48, "expert_shared_count": 1, "expert_weights_norm": True, "expert_weights_scale": 2.5,
    "moe_latent_size": 48,
}  # fmt: skip


def stateful(name: str, value: Array) -> Named:
    """Taps of a convolution are a matrix, decays negative, and what joins scores or step sizes is a bias."""
    if name.endswith(("conv.weight", "conv1d.weight")):
        value = value.squeeze(1)
    elif name.endswith("A_log"):
        value = -np.exp(value)
    name = name.replace(".dt_bias", ".dt_proj.bias") + ".bias" * name.endswith("expert_bias")
    yield from experts(name, value)


def mamba2(groups: int, name: str, value: Array) -> Named:
    """Decays and the like are columns; a norm has a row for each group."""
    for shown, values in stateful(name, value):
        if shown.endswith(("A_log", ".D")):
            values = values[:, None]
        yield shown, values.reshape(groups, -1) if shown.endswith(("mamba.norm.weight", "mixer.norm.weight")) else values


def granite(shared: str, name: str, value: Array) -> Named:
    """Queries and keys have rows in the order of neighbours that rotate; gates and ups are apart, with the suffix `shared` for
    those of all tokens."""
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    suffix = shared if rest.startswith("shared_mlp") else "_exps"
    if rest.endswith(("input_linear.weight", "gate_up_proj")):
        for part, half in zip(("gate", "up"), np.split(value, 2, axis=-2), strict=True):
            yield f"blk.{layer}.ffn_{part}{suffix}.weight", half
    elif rest.endswith(("output_linear.weight", "down_proj")):
        yield f"blk.{layer}.ffn_down{suffix}.weight", value
    elif rest == "block_sparse_moe.router.weight":
        yield f"blk.{layer}.ffn_gate_inp.weight", value
    elif rest in ("self_attn.q_proj.weight", "self_attn.k_proj.weight"):
        yield name, permuted(len(value) // 16, value)
    else:
        yield from mamba2(2, name, value)


def nemotron(name: str, value: Array) -> Named:
    """Experts are stacked already, and have no gate."""
    name = name.replace("model.", "backbone.").replace("gate.e_score_correction_bias", "gate.e_score_correction.bias")
    for part in ("up", "down"):
        layer = name.removeprefix("backbone.layers.").partition(".")[0]
        name = f"blk.{layer}.ffn_{part}_exps.weight" if name.endswith(f"mixer.experts.{part}_proj") else name
    yield from mamba2(2, name, value)


MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any], Convert]] = {
    "lfm2moe": ("Lfm2Moe", LFM2, LFM2_KEYS, stateful),
    "jamba": ("Jamba", JAMBA, JAMBA_KEYS, stateful),
    "nemotron_h": ("NemotronH", NEMOTRON, NEMOTRON_KEYS, nemotron),
    "nemotron_h_moe": ("NemotronH", NEMOTRON_MOE, NEMOTRON_MOE_KEYS, nemotron),
    "granitehybrid": (
        "GraniteMoeHybrid", {**GRANITE, "num_local_experts": 0},
        {**GRANITE_KEYS, "feed_forward_length": 48}, partial(granite, ""),
    ),
    "granitehybrid with experts": (
        "GraniteMoeHybrid", {**GRANITE, "num_local_experts": 6},
        {**GRANITE_KEYS, **ROUTED, "expert_shared_feed_forward_length": 48}, partial(granite, "_shexp"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_file_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, config, keys, convert = MODELS[name]
    tiny = build(family, tmp_path / "model", **config)
    check(tiny, compiled, source=write(tiny, name.partition(" ")[0], keys=keys, convert=convert))
