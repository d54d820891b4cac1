"""Recurrent and hybrid families, against random models of transformers."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import build, check

MAMBA2 = {
    "expand": 2, "head_dim": 16, "num_heads": 8, "n_groups": 2, "state_size": 24, "conv_kernel": 4, "intermediate_size": None,
    "num_attention_heads": None, "num_key_value_heads": None, "max_position_embeddings": None,
}  # fmt: skip
MAMBA = {
    "expand": 2, "state_size": 16, "conv_kernel": 4, "time_step_rank": 4, "intermediate_size": None, "num_attention_heads": None,
    "num_key_value_heads": None, "max_position_embeddings": None,
}  # fmt: skip
QWEN3_NEXT = {
    "head_dim": 32, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 24,
    "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4, "num_experts": 6, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48, "num_hidden_layers": 4,
}  # fmt: skip
DELTA = {name: value for name, value in QWEN3_NEXT.items() if name.startswith(("head", "linear", "num_hidden"))}
FALCON = {
    "mamba_d_ssm": 96, "mamba_n_heads": 6, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 20, "mamba_d_conv": 3,
    "head_dim": 16, "lm_head_multiplier": 0.7, "embedding_multiplier": 1.6, "mlp_multipliers": [1.3, 0.8], "key_multiplier": 0.9,
    "attention_out_multiplier": 1.2, "ssm_multipliers": [0.6, 1.4, 0.7, 1.1, 0.5], "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.75,
}  # fmt: skip
LFM2_MOE = {
    "layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1, "num_experts": 6, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}  # fmt: skip
GRANITE = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"], "mamba_n_heads": 8, "mamba_n_groups": 2,
    "mamba_d_state": 24, "shared_intermediate_size": 48, "embedding_multiplier": 2.0, "residual_multiplier": 0.7,
    "attention_multiplier": 0.2, "logits_scaling": 1.3,
}  # fmt: skip
JAMBA = {
    "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 3, "expert_layer_offset": 1,
    "num_experts": 4, "mamba_dt_rank": 8,
}  # fmt: skip
NEMOTRON = {  # transformers limits step sizes by time_step_min, but in prefill alone; time_step_limit is what others go by
    "num_hidden_layers": None, "mamba_num_heads": 8, "mamba_head_dim": 12, "n_groups": 2, "ssm_state_size": 24, "head_dim": 16,
    "time_step_min": 1e-30, "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 48,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "lfm2": ("Lfm2", {"layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 16, "conv_L_cache": 3}),
    "lfm2 with biases": (
        "Lfm2",
        {"full_attn_idxs": [1], "conv_bias": True, "conv_L_cache": 4, "block_auto_adjust_ff_dim": False},
    ),
    "lfm2 moe": ("Lfm2Moe", LFM2_MOE),
    "lfm2 moe without a bias": ("Lfm2Moe", {**LFM2_MOE, "use_expert_bias": False, "routed_scaling_factor": 1.5}),
    "granite hybrid": ("GraniteMoeHybrid", {**GRANITE, "num_local_experts": 0}),
    "granite hybrid with experts": (
        "GraniteMoeHybrid",
        {**GRANITE, "num_local_experts": 6, "position_embedding_type": "rope", "attention_bias": True, "mamba_proj_bias": True},
    ),
    "jamba": ("Jamba", JAMBA),
    "jamba without experts": ("Jamba", {**JAMBA, "num_experts": 1, "mamba_proj_bias": True, "mamba_conv_bias": False}),
    "nemotron h": ("NemotronH", {**NEMOTRON, "layers_block_type": ["linear_attention", "mlp", "full_attention", "mlp"]}),
    "nemotron h with experts": (
        "NemotronH",
        {**NEMOTRON, "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp", "moe"], "n_routed_experts": 6,
         "routed_scaling_factor": 2.5},
    ),
    "nemotron h with experts of a latent": (
        "NemotronH",
        {**NEMOTRON, "layers_block_type": ["linear_attention", "moe"], "n_routed_experts": 8, "moe_latent_size": 32, "n_group": 4,
         "topk_group": 2, "mlp_bias": True, "use_bias": True},
    ),
    "qwen3 next": ("Qwen3Next", QWEN3_NEXT),
    "qwen3 next with one key head": ("Qwen3Next", {**QWEN3_NEXT, "linear_num_key_heads": 1, "norm_topk_prob": False}),
    "qwen3.5": ("Qwen3_5", DELTA),
    "qwen3.5 moe": ("Qwen3_5Moe", {**QWEN3_NEXT, "intermediate_size": None, "full_attention_interval": 2}),
    "mamba": ("Mamba", MAMBA),
    "mamba with biases": ("Mamba", {**MAMBA, "use_bias": True, "state_size": 9, "time_step_rank": 5}),
    "falcon mamba": ("FalconMamba", MAMBA),
    "mamba2": ("Mamba2", MAMBA2),
    "mamba2 with biases and limits": ("Mamba2", {**MAMBA2, "use_bias": True, "time_step_limit": [0.1, 0.7], "conv_kernel": 2}),
    "mamba2 without biases": ("Mamba2", {**MAMBA2, "use_conv_bias": False, "n_groups": 1, "head_dim": 8, "num_heads": 16}),
    "falcon h1": ("FalconH1", FALCON),
    "falcon h1 with a norm after the gate": ("FalconH1", {**FALCON, "mamba_rms_norm": True, "mamba_norm_before_gate": False}),
    "falcon h1 with a norm before the gate": (
        "FalconH1",
        {**FALCON, "mamba_rms_norm": True, "mamba_norm_before_gate": True, "mamba_conv_bias": False},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_random_model_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, sizes = MODELS[name]
    check(build(family, tmp_path / "model", **sizes), compiled)
