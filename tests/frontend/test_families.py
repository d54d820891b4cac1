"""What families take from keys, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend import arch
from llmc.frontend.config import Config, Keys
from tests.passes.models import RandomCheckpoint, decoder

KEYS = {
    "embedding_length": 64, "feed_forward_length": 96, "block_count": 2, "context_length": 256, "attention.head_count": 4,
    "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-6, "attention.sliding_window": 32,
    "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "logit_scale": 0.25,
}  # fmt: skip


def checkpoint(family: str, **changes: object) -> RandomCheckpoint:
    """Keys of a family, some of them changed, or left out where they are None; as many tensors as layers, at least."""
    keys = {name: value for name, value in {**KEYS, **changes}.items() if value is not None}
    tensors = dict.fromkeys(map(str, range(99)))
    prefixed = {"general.architecture": family, **{f"{family}.{name}": value for name, value in keys.items()}}
    return RandomCheckpoint([Path("random.gguf")], [], prefixed, tensors)  # type: ignore[arg-type]


def config(family: str, **changes: object) -> Config:
    return arch.find()[family].config(checkpoint(family, **changes))


def test_gemma_scales_embeddings_and_caps_what_the_file_says() -> None:
    gemma = config("gemma2")
    assert (gemma.embedding_scale, gemma.attention_scale) == (8.0, 0.25)
    assert (gemma.window, gemma.softcap, gemma.logit_softcap) == (32, 50.0, 30.0)


@pytest.mark.parametrize(("family", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_27b_gemmas_scale_queries_by_their_share_of_the_hidden_size(family: str, layers: int) -> None:
    assert config(family, block_count=layers, **{"attention.key_length": 64}).attention_scale == 0.25


def test_local_layers_of_gemma3_have_a_base_of_their_own() -> None:
    assert config("gemma3").local_rope_base == 10000.0
    assert config("gemma3", **{"rope.freq_base_swa": 5000.0}).local_rope_base == 5000.0


def test_a_window_of_the_whole_context_is_none() -> None:
    assert config("phi3", **{"attention.sliding_window": 256}).window == 0


def test_command_r_multiplies_logits() -> None:
    assert config("command-r").logit_scale == 4.0
    assert config("command-r").norm_eps == 1e-6


def test_nothing_rotates_in_gpt2() -> None:
    assert config("gpt2").rope_dims == 0


def test_parallel_blocks_are_stated() -> None:
    assert config("stablelm", use_parallel_residual=True).parallel
    assert not config("stablelm", use_parallel_residual=False).parallel
    assert config("gptneox").parallel and not config("gptneox", use_parallel_residual=False).parallel


MISSING = [
    ("gemma2", "attn_logit_softcapping"), ("gemma2", "final_logit_softcapping"), ("gemma2", "attention.sliding_window"),
    ("gemma3", "attention.sliding_window"), ("command-r", "logit_scale"), ("cohere2", "logit_scale"),
    ("starcoder2", "attention.layer_norm_epsilon"), ("phi3", "attention.layer_norm_rms_epsilon"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "key"), MISSING)
def test_a_missing_key_is_named(family: str, key: str) -> None:
    with pytest.raises(MalformedFileError, match=f"{family}.{key}"):
        config(family, **{key: None})


WRONG: list[tuple[str, str, object, type[LlmcError]]] = [
    ("gemma2", "attention.sliding_window", -1, MalformedFileError),
    ("gemma2", "attn_logit_softcapping", float("inf"), MalformedFileError),
    ("gemma3", "attention.sliding_window_pattern", 0, MalformedFileError),
    ("gemma3", "attention.sliding_window_pattern", np.array([True]), MalformedFileError),
    ("phi3", "rope.scaling.type", "longrope", MalformedFileError),
]


@pytest.mark.parametrize(("family", "key", "value", "error"), WRONG)
def test_what_a_family_cannot_do_is_refused_by_its_key(family: str, key: str, value: object, error: type[LlmcError]) -> None:
    named = "rope.scaling.attn_factor" if value == "longrope" else key
    with pytest.raises(error, match=f"{family}.{named}"):
        config(family, **{key: value})


def test_the_pattern_of_windows_is_a_period_or_stated_layer_by_layer() -> None:
    def pattern(value: object) -> tuple[bool, ...] | None:
        keys = Keys(checkpoint("gemma3", **{"attention.sliding_window_pattern": value}))
        return keys.pattern("attention.sliding_window_pattern", 4)

    assert pattern(None) is None
    assert pattern(2) == (True, False, True, False)
    assert pattern(np.array([False, True, True, False])) == (False, True, True, False)


def test_a_window_in_a_family_without_windows_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="qwen2.attention.sliding_window is 8"):
        decoder("qwen2", **{"attention.sliding_window": 8})


GEMMA3N = {
    "attention.shared_kv_layers": 0, "embedding_length_per_layer_input": 16, "altup.num_inputs": 4, "altup.active_idx": 0,
    "activation_sparsity_scale": np.array([1.5, -np.inf]), "attention.sliding_window_pattern": np.array([True, False]),
}  # fmt: skip
GEMMA4 = {
    "attention.head_count_kv": np.array([2, 1]), "attention.key_length": 32, "attention.value_length": 32,
    "attention.key_length_swa": 16, "attention.sliding_window_pattern": np.array([True, False]),
}  # fmt: skip


def test_layers_of_gemma3n_are_sparse_where_the_file_has_deviations() -> None:
    gemma = config("gemma3n", **GEMMA3N)
    assert gemma.sparsity == (1.5, None) and [gemma.shares(i) for i in range(2)] == [None, None]
    assert (gemma.attention_scale, gemma.embedding_scale) == (1.0, 8.0)


def test_layers_of_gemma4_have_heads_by_their_kind() -> None:
    shapes = config("gemma4", **GEMMA4).shapes
    assert [(s.kv_heads, s.head_dim) for s in shapes] == [(2, 16), (1, 32)]


SHAPED: list[tuple[str, dict[str, object], str, object, str]] = [
    ("gemma3n", GEMMA3N, "altup.num_inputs", 8, "altup.num_inputs is 8"),
    ("gemma3n", GEMMA3N, "altup.active_idx", 4, "altup.active_idx"),
    ("gemma3n", GEMMA3N, "attention.shared_kv_layers", 1, "no layer of a kind"),
    ("gemma3n", GEMMA3N, "activation_sparsity_scale", np.array([1.5]), "has 1 elements"),
    ("gemma4", GEMMA4, "attention.head_count_kv", np.array([3, 1]), "does not divide"),
    ("gemma4", GEMMA4, "attention.head_count_kv", np.array([2, 1, 1]), "has 3 elements"),
    ("gemma4", GEMMA4, "attention.sliding_window_pattern", np.array([True, True]), "differ in their heads"),
    ("gemma4", GEMMA4, "attention.value_length_swa", 8, "is not that of keys"),
]


@pytest.mark.parametrize(("family", "keys", "key", "value", "said"), SHAPED)
def test_what_layers_cannot_be_is_said(family: str, keys: dict[str, object], key: str, value: object, said: str) -> None:
    with pytest.raises(LlmcError, match=said):
        config(family, **{**keys, key: value})
