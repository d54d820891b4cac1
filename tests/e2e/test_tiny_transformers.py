"""Families without a recorded model, against random models of transformers."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import VOCAB, build, check

ROUTED = {"moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 2}
LATENT = {"kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 32}
WINDOWED, FULL = "sliding_attention", "full_attention"
LLAMA4: dict[str, Any] = {
    "head_dim": 16, "intermediate_size_mlp": 80, "intermediate_size": 48, "num_local_experts": 4, "num_experts_per_tok": 1,
    "num_hidden_layers": 4, "attention_chunk_size": 24, "floor_scale": 16, "attn_scale": 0.4,
}  # fmt: skip
GEMMA4_EXPERTS = {
    "num_hidden_layers": 2, "layer_types": [WINDOWED, FULL], "head_dim": 16, "global_head_dim": 32, "sliding_window": 24,
    "hidden_size_per_layer_input": 0, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 32},
    "DeepseekV2": {
        **LATENT, **ROUTED, "q_lora_rank": 40, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "n_group": 4,
        "topk_group": 2, "topk_method": "group_limited_greedy", "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "mscale": 0.707, "mscale_all_dim": 0.8,
                            "original_max_position_embeddings": 128, "beta_fast": 32, "beta_slow": 1},
    },
    "DeepseekV3": {
        **LATENT, **ROUTED, "q_lora_rank": None, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1,
        "num_key_value_heads": 4, "qk_rope_head_dim": 10, "kv_lora_rank": 40, "num_nextn_predict_layers": 0,
    },
    "Dots1": {**ROUTED, "first_k_dense_replace": 1, "norm_topk_prob": True, "n_group": 4, "topk_group": 2},
    "Ernie4_5_Moe": {
        "moe_num_experts": 6, "moe_k": 3, "moe_intermediate_size": 32, "moe_num_shared_experts": 2, "moe_layer_start_index": 0,
        "moe_layer_end_index": 1,
    },
    "Gemma3n": {
        "num_hidden_layers": 5, "layer_types": [WINDOWED, FULL, WINDOWED, WINDOWED, FULL], "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.95, 0.5, 0.0, 0.0, 0.8], "laurel_rank": 16, "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 300, "head_dim": 16, "sliding_window": 24, "altup_active_idx": 0,
        "tie_word_embeddings": True,
    },
    "Gemma4": {
        "num_hidden_layers": 4, "layer_types": [WINDOWED, FULL, WINDOWED, FULL], "num_kv_shared_layers": 2, "head_dim": 16,
        "global_head_dim": 32, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCAB, "sliding_window": 24, "tie_word_embeddings": True,
    },
    "Glm4Moe": {**ROUTED, "first_k_dense_replace": 1, "use_qk_norm": True, "attention_bias": True, "routed_scaling_factor": 2.5},
    "GraniteMoe": {
        "num_local_experts": 6, "num_experts_per_tok": 3, "embedding_multiplier": 2.0, "residual_multiplier": 0.5,
        "attention_multiplier": 0.2, "logits_scaling": 3.0,
    },
    "GraniteMoeShared": {"num_local_experts": 6, "num_experts_per_tok": 3, "shared_intermediate_size": 48},
    "HunYuanMoEV1": {"num_experts": 6, "moe_topk": 3, "head_dim": 16},
    "MiniCPM3": {**LATENT, "q_lora_rank": 40, "num_key_value_heads": 4, "dim_model_base": 32},
    "MiniMaxM2": {"num_local_experts": 6, "num_experts_per_tok": 3, "head_dim": 32, "rotary_dim": 16},
    "GptOss": {"head_dim": 32, "num_local_experts": 6, "num_experts_per_tok": 3, "sliding_window": 16},
    "Llama4": {
        **LLAMA4, "interleave_moe_layer_step": 2, "rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 64},
    },
    "Mixtral": {"num_local_experts": 5, "num_experts_per_tok": 2},
    "Olmoe": {"num_experts": 6, "num_experts_per_tok": 3},
    "Phimoe": {"num_local_experts": 6, "attention_bias": True, "lm_head_bias": True, "router_jitter_noise": 0.4},
    "Qwen2Moe": {
        "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48, "num_experts": 6, "num_experts_per_tok": 3,
        "mlp_only_layers": [1],
    },
    "Qwen3Moe": {
        "head_dim": 32, "moe_intermediate_size": 32, "num_experts": 6, "num_experts_per_tok": 3, "decoder_sparse_step": 2,
        "norm_topk_prob": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("family", MODELS)
def test_a_random_model_computes_what_transformers_does(family: str, compiled: Compiled, tmp_path: Path) -> None:
    check(build(family, tmp_path / "model", **MODELS[family]), compiled)


def test_gemma4_with_experts_and_the_keys_of_older_files(compiled: Compiled, tmp_path: Path) -> None:
    """Experts beside feed-forward blocks; larger heads said once, not layer by layer."""
    tiny = build("Gemma4", tmp_path / "model", **GEMMA4_EXPERTS)
    path = tiny.folder / "config.json"
    config = json.loads(path.read_text())
    del config["per_layer_config"]
    path.write_text(json.dumps(config | {"global_head_dim": 32}))
    check(tiny, compiled)
