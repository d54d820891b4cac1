"""Families whose config.json says things in its own way: Gemma, Mixtral."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.errors import LlmcError
from llmc.frontend.config import Config
from llmc.frontend.experts import Experts
from llmc.frontend.huggingface import read_huggingface
from llmc.frontend.load import find_architecture
from llmc.frontend.rope import RopeScaling
from tests.safetensors_bytes import write_directory

GEMMA: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"], "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "head_dim": 4,
    "num_attention_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "vocab_size": 4, "sliding_window": 32,
    "query_pre_attn_scalar": 25, "hidden_activation": "gelu_pytorch_tanh",
}  # fmt: skip
TENSORS = {f"model.layers.{i}.input_layernorm.weight": np.ones(16, np.float16) for i in range(3)}


MIXTRAL: dict[str, Any] = {
    **GEMMA, "architectures": ["MixtralForCausalLM"], "sliding_window": None, "num_local_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip


def config(folder: Path, **changes: Any) -> Config:
    checkpoint = read_huggingface(write_directory(folder, {**GEMMA, **changes}, TENSORS))
    return find_architecture(checkpoint).config(checkpoint)


def test_query_and_embedding_scales_and_the_window_are_read(tmp_path: Path) -> None:
    c = config(tmp_path / "m")
    assert (c.attention_scale, c.embedding_scale, c.window, c.local_layers) == (0.2, 4.0, 32, None)


@pytest.mark.parametrize(
    ("changes", "local"),
    [
        ({"sliding_window_pattern": 2}, (True, False, True)),
        ({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, (False, True, False)),
    ],
)
def test_layers_with_a_window_are_those_that_the_file_states(
    tmp_path: Path, changes: dict[str, Any], local: tuple[bool, ...]
) -> None:
    assert config(tmp_path / "m", **changes).local_layers == local


@pytest.mark.parametrize(
    ("changes", "bases", "scaling"),
    [
        ({}, (1e6, 1e4), RopeScaling()),
        (
            {"rope_theta": 5e5, "rope_local_base_freq": 7.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
            (5e5, 7.0), RopeScaling("linear", 8.0),
        ),
        (
            {"rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
                "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
            }},
            (5e5, 7.0), RopeScaling("linear", 8.0),
        ),
    ],
)  # fmt: skip
def test_layers_with_and_without_a_window_rotate_apart(
    tmp_path: Path, changes: dict[str, Any], bases: tuple[float, float], scaling: RopeScaling
) -> None:
    c = config(tmp_path / "m", **changes)
    assert (c.rope_base, c.local_rope_base) == bases and c.rope_scaling == scaling


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_activation": "gelu"}, "hidden_activation"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["chunked_attention"]}, "layer_types"),
        ({"query_pre_attn_scalar": None}, "query_pre_attn_scalar"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ({"sliding_window": None}, "sliding_window"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"rope_parameters": {"sliding_attention": {"rope_type": "linear", "rope_theta": 5.0}}}, "sliding_attention.rope_type"),
        ({"rope_parameters": {"sliding_attention": {"factor": 2.0}}}, "sliding_attention.factor"),
        ({"architectures": ["Gemma2ForCausalLM"]}, "attn_logit_softcapping"),
    ],
)
def test_what_cannot_be_compiled_is_named(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(LlmcError, match=word):
        config(tmp_path / "m", **changes)


def test_experts_have_the_size_of_a_feed_forward_block(tmp_path: Path) -> None:
    c = config(tmp_path / "m", **MIXTRAL)
    assert c.experts == Experts(count=4, used=2, intermediate=16, gate=None, normalize=None, scale=1.0, layers=(True,) * 3)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"num_experts_per_tok": 5}, "num_experts_per_tok"),
        ({"num_experts_per_tok": None}, "num_experts_per_tok"),
        ({"num_local_experts": -1}, "num_local_experts"),
        ({"architectures": ["LlamaForCausalLM"]}, "num_local_experts is 4"),
        ({"sliding_window": 32}, "sliding_window"),
    ],
)
def test_experts_that_cannot_be_compiled_are_named(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(LlmcError, match=word):
        config(tmp_path / "m", **{**MIXTRAL, **changes})
