"""The language models of directories whose models also see, against random models of transformers that get text alone."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from tests.e2e.reference import Compiled
from tests.e2e.test_tiny_recurrent import DELTA
from tests.e2e.tiny_transformers import Tiny, build, check

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
QWEN = {"vision_config": {**SIZES, "depth": 1, "num_heads": 2, "out_hidden_size": 64, "num_position_embeddings": 16}}
GEMMA = {"vision_config": {**SIZES, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}, "mm_tokens_per_image": 4}
LLAMA4 = {
    "head_dim": 16, "intermediate_size_mlp": 80, "intermediate_size": 48, "num_local_experts": 4, "num_experts_per_tok": 2,
    "num_hidden_layers": 2, "attention_chunk_size": 24, "no_rope_layers": [1, 0], "use_qk_norm": False,
    "attn_temperature_tuning": False, "moe_layers": [1],
}  # fmt: skip
LLAMA4_VISION = {"vision_config": {
    **SIZES, "intermediate_size": 128, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14, "vision_output_dim": 32,
    "projector_input_dim": 32, "projector_output_dim": 32,
}}  # fmt: skip
GEMMA4 = {
    "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "head_dim": 16, "global_head_dim": 32,
    "sliding_window": 24, "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": 320, "tie_word_embeddings": True,
}  # fmt: skip
GEMMA4_VISION = {"vision_config": {
    **SIZES, "num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "position_embedding_size": 16,
}}  # fmt: skip

MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen3.5": (
        "Qwen3_5ForConditionalGeneration",
        {**DELTA, "num_hidden_layers": 2, "full_attention_interval": 2},
        QWEN,
    ),
    "llama4": ("Llama4ForConditionalGeneration", LLAMA4, LLAMA4_VISION),
    "gemma4": ("Gemma4ForConditionalGeneration", GEMMA4, GEMMA4_VISION),
    "gemma3": ("Gemma3ForConditionalGeneration", {"head_dim": 16, "sliding_window": 24, "num_hidden_layers": 2}, GEMMA),
}


def tiny(name: str, folder: Path) -> Tiny:
    family, config, outer = MODELS[name]
    return build(family, folder, head="", outer=outer, **config)


@pytest.mark.parametrize("name", MODELS)
def test_text_alone_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    check(tiny(name, tmp_path / "model"), compiled)


def test_older_files_have_the_language_model_elsewhere(compiled: Compiled, tmp_path: Path) -> None:
    """And a matrix of outputs under it."""
    model = tiny("qwen3.5", tmp_path / "model")
    weights = model.folder / "model.safetensors"
    places = {"model.language_model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    moved = {}
    for name, tensor in load_file(weights).items():
        found = next((prefix for prefix in places if name.startswith(prefix)), "")
        moved[places.get(found, "") + name.removeprefix(found)] = tensor
    save_file(moved, weights)
    check(model, compiled)
