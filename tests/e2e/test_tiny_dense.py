"""Dense families without a recorded model from Hugging Face directories, against random models of transformers."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import build, check

WINDOW = {"sliding_window": 24}
PARTIAL = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
GPT2: dict[str, Any] = {
    "hidden_size": None, "intermediate_size": None, "num_hidden_layers": None, "num_attention_heads": None,
    "num_key_value_heads": None, "max_position_embeddings": None, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512,
}  # fmt: skip

MPT: dict[str, Any] = {
    **dict.fromkeys(GPT2), "d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 512, "tie_word_embeddings": True,
}  # fmt: skip
FALCON: dict[str, Any] = {"num_key_value_heads": None, "intermediate_size": None, "tie_word_embeddings": True}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "olmo2": ("Olmo2", {}),
    "olmo3": ("Olmo3", {**WINDOW, "num_hidden_layers": 4}),
    "olmo3-yarn": ("Olmo3", {**WINDOW, "num_hidden_layers": 4, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32.0,
        "beta_slow": 1.0, "attention_factor": 1.2}}),
    "glm4": ("Glm4", {"head_dim": 16, "attention_bias": True}),
    "exaone4": ("Exaone4", {**WINDOW, "num_hidden_layers": 4}),
    "exaone4-wide": ("Exaone4", {"sliding_window": 4096, "num_hidden_layers": 4}),
    "exaone4-plain": ("Exaone4", {"sliding_window": None, "sliding_window_pattern": None}),
    "stablelm": ("StableLm", {"use_qkv_bias": True}),
    "stablelm-parallel": ("StableLm", {"use_parallel_residual": True, "qk_layernorm": True, **PARTIAL}),
    "starcoder2": ("Starcoder2", {}),
    "starcoder2-window": ("Starcoder2", {**WINDOW, "use_bias": False}),
    "gpt2": ("GPT2", {**GPT2, "head": "LMHeadModel"}),
    "gptneox": ("GPTNeoX", {"num_key_value_heads": None}),
    "gptneox-sequential": ("GPTNeoX", {"num_key_value_heads": None, "use_parallel_residual": False, "hidden_act": "gelu_new",
        "attention_bias": False}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 4}),
    "smollm3-stated": ("SmolLM3", {"no_rope_layers": [0, 1, 1]}),
    "cohere-qknorm": ("Cohere", {"use_qk_norm": True}),
    "cohere2": ("Cohere2", {**WINDOW, "num_hidden_layers": 4, "head_dim": 16}),
    "gemma": ("Gemma", {"head_dim": 32, "num_key_value_heads": 1}),
    "phi2": ("Phi", {}),
    "phi4": ("Phi3", {"rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 128, "short_factor": [1.0 + i / 9 for i in range(6)],
        "long_factor": [1.5 + i for i in range(6)]}, "original_max_position_embeddings": 128}),
    "nemotron": ("Nemotron", {"head_dim": 16}),
    "apertus": ("Apertus", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
    "arcee": ("Arcee", {"head_dim": 16, "mlp_bias": True}),
    "seed_oss": ("SeedOss", {"head_dim": 32}),
    "ernie4_5": ("Ernie4_5", {"head_dim": 16, "tie_word_embeddings": True}),
    "ernie4_5-bias": ("Ernie4_5", {"head_dim": 16, "use_bias": True}),
    "hunyuan-dense": ("HunYuanDenseV1", {"head_dim": 16}),
    "hunyuan-dense-alpha": ("HunYuanDenseV1", {"head_dim": 16, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0,
        "alpha": 1000.0, "factor": 1.0}}),
    "bloom": ("Bloom", {**dict.fromkeys(GPT2), "hidden_size": 48, "n_layer": 3, "n_head": 6, "tie_word_embeddings": True}),
    "mpt": ("Mpt", MPT),
    "mpt-clip": ("Mpt", {**MPT, "n_heads": 6, "d_model": 48, "attn_config": {"clip_qkv": 0.7, "softmax_scale": 0.3}}),
    "starcoder": ("GPTBigCode", {**GPT2, "num_key_value_heads": None}),
    "starcoder-mha": ("GPTBigCode", {**GPT2, "multi_query": False}),
    "olmo": ("Olmo", {}),
    "olmo-clip": ("Olmo", {"clip_qkv": 0.5}),
    "falcon-7b": ("Falcon", FALCON),
    "falcon-40b": ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-11b": ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    "falcon-sequential": ("Falcon", {**FALCON, "parallel_attn": False, "multi_query": False, "bias": True}),
    "ministral3": ("Ministral3", {"head_dim": 16, "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 32,
        "llama_4_scaling_beta": 0.1}}),
    "ministral3-window": ("Ministral3", {"head_dim": 16, **WINDOW, "rope_parameters": {"rope_type": "default",
        "rope_theta": 10000.0, "llama_4_scaling_beta": 0.0, "original_max_position_embeddings": 512}}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_random_model_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, config = MODELS[name]
    check(build(family, tmp_path / "model", **config), compiled)


def test_falcon_with_slopes_computes_what_transformers_does(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slopes are rounded to bf16 by transformers alone; here they are exact. Its eager form has them twice."""
    tiny = build("Falcon", tmp_path / "model", **FALCON, parallel_attn=False, multi_query=False, bias=True, alibi=True)
    falcon, bloom = (importlib.import_module(f"transformers.models.{name}.modeling_{name}") for name in ("falcon", "bloom"))
    tiny.model.config._attn_implementation = "sdpa"
    monkeypatch.setattr(falcon, "build_alibi_tensor", bloom.build_alibi_tensor)
    check(tiny, compiled)
