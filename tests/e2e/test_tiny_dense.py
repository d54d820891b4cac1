"""Dense families without a recorded model from Hugging Face directories, against random models of transformers."""

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
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_random_model_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, config = MODELS[name]
    check(build(family, tmp_path / "model", **config), compiled)
