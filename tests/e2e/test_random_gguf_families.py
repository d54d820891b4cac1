"""Families whose GGUF files were never recorded: files of random models, written as llama.cpp's converters do."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.reference import Compiled
from tests.e2e.tiny_gguf import Array, Convert, Named, as_it_is, permuted, write
from tests.e2e.tiny_transformers import SIZES, Tiny, build, check

HEADS, KV_HEADS = SIZES["num_attention_heads"], SIZES["num_key_value_heads"]
EXPERT_NAMES = {
    "mlp.experts.down_proj": "ffn_down_exps.weight", "mlp.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.experts.down_proj": "ffn_down_exps.weight", "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.router.weight": "ffn_gate_inp.weight", "block_sparse_moe.router.layer.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias", "mlp.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.moe_statics.e_score_correction_bias": "exp_probs_b.bias", "mlp.gate.wg.weight": "ffn_gate_inp.weight",
    "mlp.router.weight": "ffn_gate_inp.weight", "block_sparse_moe.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_mlp.gate_proj.weight": "ffn_gate_shexp.weight", "mlp.shared_mlp.up_proj.weight": "ffn_up_shexp.weight",
    "mlp.shared_mlp.down_proj.weight": "ffn_down_shexp.weight", "shared_mlp.output_linear.weight": "ffn_down_shexp.weight",
    "mlp.gate.moe_statics.e_score_correction_bias": "exp_probs_b.bias",
}  # fmt: skip


def experts(name: str, value: Array) -> Named:
    """Experts of a layer in one tensor each for gates, ups and downs, and what stands beside them."""
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    if rest.endswith(("experts.gate_up_proj", "shared_mlp.input_linear.weight")):
        suffix = "exps" if "experts" in rest else "shexp"
        for part, half in zip(("gate", "up"), np.split(value, 2, axis=-2), strict=True):
            yield f"blk.{layer}.ffn_{part}_{suffix}.weight", half
    elif rest in EXPERT_NAMES:
        yield f"blk.{layer}.{EXPERT_NAMES[rest]}", value.reshape(-1) if rest.endswith("bias") else value
    else:
        yield name, value


def neighbours(name: str, value: Array) -> Named:
    """Rows of q and k in the order of neighbours that rotate."""
    for kind, heads in (("q_proj", HEADS), ("k_proj", KV_HEADS)):
        if f".{kind}." in name:
            value = permuted(heads, value)
    yield from experts(name, value)


def plus_one(what: str, name: str, value: Array) -> Named:
    """Norms with the one added that they multiply by beside what is stored."""
    yield name, value + 1 if name.endswith(what) else value


def heads_apart(parts: int, name: str, value: Array) -> Named:
    """q, k and v of all heads one after the other, in the place of head by head."""
    if ".query_key_value." in name:
        value = value.reshape(-1, parts, value.shape[0] // HEADS // parts, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
    yield name.removeprefix("transformer."), value


def groups_apart(groups: int, name: str, value: Array) -> Named:
    """q, k and v of all heads one after the other, in the place of group by group."""
    if ".query_key_value." in name:
        dim = value.shape[0] // (HEADS + 2 * groups)
        grouped = value.reshape(groups, -1, dim, *value.shape[1:])
        parts = grouped[:, :-2], grouped[:, -2], grouped[:, -1]
        value = np.concatenate([part.reshape(-1, *value.shape[1:]) for part in parts])
    yield name, value


def latent(name: str, value: Array) -> Named:
    """Of the matrix of keys and values, head by head, the keys' part turned and the values'."""
    if not name.endswith("kv_b_proj.weight"):
        yield from experts(name, value)
        return
    layer = name.split(".")[2]
    keys, values = np.split(value.reshape(HEADS, -1, value.shape[1]), [24], axis=1)
    yield f"blk.{layer}.attn_k_b.weight", keys.swapaxes(1, 2)
    yield f"blk.{layer}.attn_v_b.weight", values


def xielu(name: str, value: Array) -> Named:
    """Parameters of activations are keys."""
    if ".act_fn." not in name:
        yield name, value


def activation(name: str, tiny: Tiny) -> list[float]:
    """A parameter of every layer's activation."""
    return [getattr(layer.mlp.act_fn, name).item() for layer in tiny.model.model.layers]


def mamba(name: str, value: Array) -> Named:
    yield name, -np.exp(value) if name.endswith("A_log") else value.squeeze(1) if name.endswith("conv1d.weight") else value


NONE = {"rope.freq_base": None, "rope.dimension_count": None, "attention.key_length": None, "attention.value_length": None}
LAYER_NORM = {"attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": 1e-5}
ROUTED = {"moe_intermediate_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 2}
ROUTED_KEYS = {
    "expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 32, "expert_shared_count": 2,
    "leading_dense_block_count": 1,
}  # fmt: skip
SIX = {"expert_count": 6, "expert_used_count": 3}
LATENT = {"kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 32}
GPT2: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")),
    "max_position_embeddings": None, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512,
}  # fmt: skip
FALCON: dict[str, Any] = {"num_key_value_heads": None, "intermediate_size": None, "tie_word_embeddings": True}
MPT: dict[str, Any] = {
    **dict.fromkeys(GPT2), "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 512, "tie_word_embeddings": True,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
    "mscale_all_dim": 1.0, "original_max_position_embeddings": 32, "llama_4_scaling_beta": 0.1,
}  # fmt: skip
YARN_KEYS = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 16.0, "rope.scaling.yarn_beta_fast": 32.0,
    "rope.scaling.yarn_beta_slow": 1.0, "rope.scaling.yarn_log_multiplier": 1.0, "rope.scaling.original_context_length": 32,
    "attention.temperature_scale": 0.1,
}  # fmt: skip
DEEP_YARN = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "mscale": 0.707, "mscale_all_dim": 0.707,
    "original_max_position_embeddings": 128, "beta_fast": 32, "beta_slow": 1,
}  # fmt: skip
DEEP_KEYS = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 128,
    "rope.scaling.yarn_log_multiplier": 0.0707,
}  # fmt: skip
WIDE = {"feed_forward_length": 256, "context_length": 2048, **LAYER_NORM}

MODELS: dict[str, tuple[str, dict[str, Any], Mapping[str, Any], Convert]] = {
    "arcee": ("Arcee", {"head_dim": 16}, {}, neighbours),
    "bloom": ("Bloom", {**dict.fromkeys(GPT2), "hidden_size": 64, "n_layer": 3, "n_head": 4, "tie_word_embeddings": True},
              {**WIDE, **NONE}, partial(heads_apart, 3)),
    "deepseek2": ("DeepseekV2", {**LATENT, **ROUTED, "q_lora_rank": 40, "first_k_dense_replace": 1, "num_key_value_heads": 4,
                                 "rope_parameters": {**DEEP_YARN}},
                  {**ROUTED_KEYS, **DEEP_KEYS, "attention.q_lora_rank": 40, "attention.kv_lora_rank": 48,
                   "attention.head_count_kv": 1, "attention.key_length": 64, "attention.value_length": 48,
                   "attention.key_length_mla": 40, "attention.value_length_mla": 32, "rope.dimension_count": 16,
                   "expert_weights_scale": 1.0, "expert_weights_norm": False, "expert_gating_func": 1}, latent),
    "apertus": ("Apertus", {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
                {f"/xielu.{name}": partial(activation, name) for name in ("alpha_p", "alpha_n", "beta", "eps")}, xielu),
    "dots1": ("Dots1", {**ROUTED, "first_k_dense_replace": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.5},
              {**ROUTED_KEYS, "expert_weights_norm": True, "expert_weights_scale": 1.5, "expert_gating_func": 2}, experts),
    "ernie4_5": ("Ernie4_5", {"head_dim": 16, "tie_word_embeddings": True}, {}, as_it_is),
    "ernie4_5-moe": ("Ernie4_5_Moe", {"moe_num_experts": 6, "moe_k": 3, "moe_intermediate_size": 32, "moe_num_shared_experts": 2,
                                      "moe_layer_start_index": 1, "moe_layer_interval": 1},
                     {**SIX, "expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 64,
                      "interleave_moe_layer_step": 1, "leading_dense_block_count": 1, "expert_shared_count": 2}, experts),
    "falcon": ("Falcon", FALCON, {**WIDE, "attention.head_count_kv": 1}, partial(groups_apart, 1)),
    "falcon with groups": ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
                           {**WIDE, "attention.head_count_kv": 2}, partial(groups_apart, 2)),
    "gemma": ("Gemma", {"head_dim": 32, "num_key_value_heads": 1, "tie_word_embeddings": True}, {},
              partial(plus_one, "norm.weight")),
    "glm4moe": ("Glm4Moe", {**ROUTED, "first_k_dense_replace": 1, "use_qk_norm": True, "attention_bias": True,
                            "routed_scaling_factor": 2.5},
                {**ROUTED_KEYS, "expert_weights_norm": True, "expert_weights_scale": 2.5, "expert_gating_func": 2,
                 "nextn_predict_layers": 0}, experts),
    "granitemoe": ("GraniteMoe", {"num_local_experts": 6, "num_experts_per_tok": 3, "embedding_multiplier": 2.0,
                                  "residual_multiplier": 0.5, "attention_multiplier": 0.2, "logits_scaling": 3.0},
                   {**SIX, "embedding_scale": 2.0, "residual_scale": 0.5, "attention.scale": 0.2, "logit_scale": 3.0},
                   neighbours),
    "granitemoe with a shared one": ("GraniteMoeShared", {"num_local_experts": 6, "num_experts_per_tok": 3,
                                                          "shared_intermediate_size": 48},
                                     {**SIX, "expert_shared_feed_forward_length": 48, "attention.scale": 1.0,
                                      "embedding_scale": 1.0, "residual_scale": 1.0, "logit_scale": 1.0}, neighbours),
    "hunyuan-dense": ("HunYuanDenseV1", {"head_dim": 16}, {}, as_it_is),
    "hunyuan-moe": ("HunYuanMoEV1", {"num_experts": 6, "moe_topk": 3, "head_dim": 16},
                    {**SIX, "expert_feed_forward_length": 96, "expert_shared_feed_forward_length": 96, "expert_shared_count": 1},
                    experts),
    "minicpm3": ("MiniCPM3", {**LATENT, "q_lora_rank": 40, "num_key_value_heads": 4, "dim_model_base": 256, "scale_emb": 12,
                              "scale_depth": 1.4, "tie_word_embeddings": True},
                 {"attention.q_lora_rank": 40, "attention.kv_lora_rank": 48, "attention.key_length": 40,
                  "attention.value_length": 32, "rope.dimension_count": 16, "attention.layer_norm_rms_epsilon": 1e-6}, as_it_is),
    "internlm2": ("Llama", {}, {}, neighbours),
    "minicpm": ("Granite", {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.25,
                            "logits_scaling": 3.0},
                {"embedding_scale": 2.0, "residual_scale": 0.5, "logit_scale": 3.0}, neighbours),
    "minimax-m2": ("MiniMaxM2", {"num_local_experts": 6, "num_experts_per_tok": 3, "head_dim": 32, "rotary_dim": 16},
                   {**SIX, "expert_feed_forward_length": 96, "expert_gating_func": 2, "rope.dimension_count": 16}, experts),
    "mistral3": ("Ministral3", {"head_dim": 16, "rope_parameters": YARN}, YARN_KEYS, neighbours),
    "mpt": ("Mpt", MPT, {**WIDE, **NONE, "context_length": 512, "attention.max_alibi_bias": 8.0}, as_it_is),
    "nemotron": ("Nemotron", {"head_dim": 16}, {**LAYER_NORM, "rope.dimension_count": 8},
                 partial(plus_one, ("norm.weight", "layernorm.weight"))),
    "olmo": ("Olmo", {"clip_qkv": 0.5}, {**LAYER_NORM, "attention.clamp_kqv": 0.5}, neighbours),
    "phi2": ("Phi", {}, {**LAYER_NORM, "rope.dimension_count": 8}, as_it_is),
    "qwen2moe": ("Qwen2Moe", {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 48, "num_experts": 6,
                              "num_experts_per_tok": 3},
                 {**SIX, "expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 48}, experts),
    "seed_oss": ("SeedOss", {"head_dim": 32}, {}, as_it_is),
    "starcoder": ("GPTBigCode", {**GPT2, "num_key_value_heads": None},
                  {**WIDE, **NONE, "context_length": 512, "attention.head_count_kv": 1}, as_it_is),
    "mamba": ("Mamba", {**dict.fromkeys(("intermediate_size", "num_attention_heads", "num_key_value_heads")), "state_size": 16,
                        "conv_kernel": 4, "expand": 2, "time_step_rank": 4, "tie_word_embeddings": True},
              {**NONE, "attention.head_count": 0, "attention.head_count_kv": None, "feed_forward_length": 0,
               "context_length": 512, "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.time_step_rank": 4,
               "attention.layer_norm_rms_epsilon": 1e-5}, mamba),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_file_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, config, keys, convert = MODELS[name]
    tiny = build(family, tmp_path / "model", **config)
    keys = {key: value(tiny) if callable(value) else value for key, value in keys.items()}
    check(tiny, compiled, source=write(tiny, name.partition(" ")[0], keys=keys, convert=convert))
