"""Model directories: config.json as keys, tensors over shards, rotation as config.json says it."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.config import read_config
from llmc.frontend.huggingface import HuggingFace, flatten, read_huggingface
from llmc.frontend.load import find_architecture, read_checkpoint
from llmc.frontend.rope import RopeScaling, frequencies
from tests.safetensors_bytes import safetensors, write_directory

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000, "vocab_size": 4,
}  # fmt: skip
LONGROPE = {"rope_type": "longrope", "short_factor": [1, 1.5], "long_factor": [2, 4]}
TENSORS = {"model.embed_tokens.weight": np.ones((4, 8), np.float16), "lm_head.weight": np.ones((4, 8), np.float32)}


def opened(folder: Path, **changes: Any) -> HuggingFace:
    return read_huggingface(write_directory(folder, {**CONFIG, **changes}, TENSORS))


def refusal(folder: Path, kind: type[LlmcError] = UnsupportedModelError, **changes: Any) -> str:
    with pytest.raises(kind) as error:
        read_config(opened(folder, **changes))
    return str(error.value)


def test_nested_keys_are_called_by_their_path() -> None:
    keys = flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1, 2], "f": [1.5, 2], "g": ["x"], "quantization_config": {"bits": 4}})
    assert keys["a.b"] == 1 and keys["a.c.d"] is None and keys["g"] == ["x"] and "quantization_config.bits" not in keys
    assert np.array_equal(keys["e"], [1, 2]) and np.array_equal(keys["f"], [1.5, 2.0])  # type: ignore[arg-type]


def test_a_path_that_is_also_a_key_is_refused() -> None:
    with pytest.raises(MalformedFileError, match=r"a\.b is there twice"):
        flatten({"a": {"b": 1}, "a.b": 2})


def test_config_and_tensors_are_read(tmp_path: Path) -> None:
    c = opened(tmp_path / "m")
    config = read_config(c)
    assert (config.hidden, config.heads, config.kv_heads, config.head_dim, config.rope_base) == (8, 2, 2, 4, 10000.0)
    assert c.tensors["model.embed_tokens.weight"].format.name == "f16" and c.data("lm_head.weight").size == 128


def test_the_hash_covers_every_file_that_matters(tmp_path: Path) -> None:
    c = opened(tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("of no matter")
    whole = b"".join((tmp_path / "m" / name).read_bytes() for name in ("model.safetensors", "config.json"))
    assert read_huggingface(tmp_path / "m").sha256() == c.sha256() == hashlib.sha256(whole).hexdigest()
    (tmp_path / "m" / "generation_config.json").write_text("{}")
    assert read_huggingface(tmp_path / "m").files[-1].name == "generation_config.json"


def test_a_tied_output_matrix_is_not_read(tmp_path: Path) -> None:
    assert "lm_head.weight" not in opened(tmp_path / "m", tie_word_embeddings=True).tensors


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "m", CONFIG, {})
    (folder / "model.safetensors").unlink()
    places = {}
    for i, (name, tensor) in enumerate(TENSORS.items()):
        places[name] = f"model-{i}.safetensors"
        (folder / places[name]).write_bytes(safetensors({name: tensor}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    c = read_huggingface(folder)
    assert np.array_equal(c.data("lm_head.weight").view(np.float32), np.ones(32)) and len(c.files) == 4
    c.release("lm_head.weight")
    (folder / "model-0.safetensors").write_bytes(safetensors({**TENSORS, "more": np.zeros(1, np.float32)}))
    with pytest.raises(MalformedFileError, match="is not where the index says"):
        read_huggingface(folder)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "m", CONFIG, TENSORS)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(MalformedFileError, match=r"pytorch_model.bin is a pickle"):
        read_huggingface(folder)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"auto_map": {"AutoModel": "x.Model"}}, "auto_map"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "bits": 4}}, "bitsandbytes"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 32}, "sliding_window"),
        ({"layer_types": ["chunked_attention"]}, "layer_types"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"head_dim": 5}, "head_dim"),
        ({"rope_scaling": {"rope_type": "axial"}}, "rope_scaling.rope_type"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters.full_attention"),
    ],
)
def test_what_cannot_be_compiled_is_named(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    assert word in refusal(tmp_path / "m", **changes)


def test_command_r_divides_by_the_scale_of_logits_and_must_state_it(tmp_path: Path) -> None:
    cohere = {"architectures": ["CohereForCausalLM"], "layer_norm_eps": 1e-5, "logit_scale": 0.25}
    c = opened(tmp_path / "m", **cohere)
    assert find_architecture(c).config(c).logit_scale == 4.0
    c = opened(tmp_path / "m", **cohere | {"logit_scale": None})
    with pytest.raises(LlmcError, match="logit_scale"):
        find_architecture(c).config(c)


@pytest.mark.parametrize(
    ("changes", "window"),
    [({}, 4096), ({"sliding_window": 32}, 32), ({"sliding_window": None}, 0), ({"use_sliding_window": False}, 0)],
)
def test_a_mistral_has_a_window_unless_it_says_otherwise(tmp_path: Path, changes: dict[str, Any], window: int) -> None:
    mistral = {**CONFIG, "architectures": ["MistralForCausalLM"], "max_position_embeddings": 32768, **changes}
    assert read_config(read_huggingface(write_directory(tmp_path / "m", mistral, TENSORS))).window == window


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_size": "8"}, "hidden_size"),
        ({"hidden_size": 8.0}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_attention_heads": 3}, "does not divide hidden_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps"),
        ({"rope_theta": 10**400}, "digits"),
        ({"rope_theta": 0}, "rope_theta"),
        ({"num_hidden_layers": 3}, "num_hidden_layers"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "rope_scaling.factor"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 5, "high_freq_factor": 4}}, "low_freq_factor"),
        ({"rope_scaling": LONGROPE}, "original_max_position_embeddings"),
        ({"rope_scaling": LONGROPE | {"long_factor": [2]}, "original_max_position_embeddings": 32}, "long_factor has 1 elements"),
        ({"rope_scaling": LONGROPE | {"short_factor": [1, 0]}, "original_max_position_embeddings": 32}, "short_factor holds"),
        ({"rope_scaling": LONGROPE | {"long_factor": None}, "original_max_position_embeddings": 32}, "long_factor is missing"),
        ({"tie_word_embeddings": "no", "use_sliding_window": 1, "sliding_window": 3}, "use_sliding_window"),
        ({"architectures": []}, "architectures"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
    ],
)
def test_what_contradicts_itself_is_named(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    message = refusal(tmp_path / "m", MalformedFileError, **changes)
    assert word in message and ("config.json" in message or "does not divide" in message or "layers" in message)


def test_an_unknown_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="architectures is QuuxModel"):
        find_architecture(opened(tmp_path / "m", architectures=["QuuxModel"]))


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match=r"config\.json"):
        read_checkpoint(tmp_path)


# ---- Rotation

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rope_scaling": None}, RopeScaling()),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, RopeScaling("linear", 4.0)),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, RopeScaling()),
        ({"rope_scaling": YARN}, RopeScaling("yarn", 4.0, 32)),
        ({"rope_scaling": {**YARN, "attention_factor": 0.7}}, RopeScaling("yarn", 4.0, 32, magnitude=0.7)),
        (
            {"rope_scaling": {**YARN, "beta_fast": 9, "truncate": False}},
            RopeScaling("yarn", 4.0, 32, beta_fast=9, truncate=False),
        ),
        ({"rope_scaling": {**YARN, "mscale": 1, "mscale_all_dim": 1}}, RopeScaling("yarn", 4.0, 32, magnitude=1.0)),
    ],
)
def test_scaling_is_read_from_every_form(tmp_path: Path, changes: dict[str, Any], expected: RopeScaling) -> None:
    config = read_config(opened(tmp_path / "m", **changes))
    assert config.rope_scaling == expected
    assert config.rope_base == (5.0 if "rope_parameters" in changes else 10000.0)


def test_longrope_has_two_sets_of_factors_and_a_magnitude_that_grows_with_the_context(tmp_path: Path) -> None:
    trained = {"original_max_position_embeddings": 32}
    for changes in ({"rope_scaling": LONGROPE, **trained}, {"rope_scaling": LONGROPE | trained}):
        found = read_config(opened(tmp_path / "m", **changes)).rope_scaling
        assert (found.kind, found.original_context, found.short, found.long) == ("longrope", 32, (1.0, 1.5), (2.0, 4.0))
        assert math.isclose(found.attention_factor, math.sqrt(1 + math.log(128 / 32) / math.log(32)), rel_tol=1e-15)
    stated = read_config(opened(tmp_path / "m", rope_scaling=LONGROPE | trained | {"attention_factor": 1.25})).rope_scaling
    assert stated.attention_factor == 1.25


def test_llama3_keeps_fast_pairs_and_squeezes_slow_ones() -> None:
    """The rule as Llama's model card has it, in double precision."""
    scaling = RopeScaling("llama3", 8.0, original_context=8192, low=1.0, high=4.0)
    values, scale = frequencies(128, 500000.0, scaling)
    expected = []
    for i in range(64):
        frequency = 500000.0 ** (-2 * i / 128)
        length = 2 * math.pi / frequency
        smooth = (8192 / length - 1.0) / (4.0 - 1.0)
        mixed = (1 - smooth) * frequency / 8 + smooth * frequency
        expected.append(frequency if length < 8192 / 4.0 else frequency / 8 if length > 8192 / 1.0 else mixed)
    assert scale == 1.0 and len({*expected}) == 64
    np.testing.assert_allclose(values, expected, rtol=2**-22)


@pytest.mark.parametrize("truncate", [True, False])
def test_yarn_ramps_as_transformers_does(truncate: bool) -> None:
    """_compute_yarn_parameters of modeling_rope_utils, in double precision."""
    dims, base, factor, original = 64, 1e6, 4.0, 4096
    scaling = RopeScaling("yarn", factor, original, beta_fast=32.0, beta_slow=1.0, magnitude=0.9, truncate=truncate)
    values, scale = frequencies(dims, base, scaling)
    low, high = (dims * math.log(original / (beta * 2 * math.pi)) / (2 * math.log(base)) for beta in (32.0, 1.0))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    plain = base ** (-np.arange(0, dims, 2) / dims)
    keep = 1 - np.clip((np.arange(dims // 2) - max(low, 0)) / (min(high, dims - 1) - max(low, 0)), 0, 1)
    np.testing.assert_allclose(values, plain / factor * (1 - keep) + plain * keep, rtol=1e-6)
    assert scale == np.float32(0.9)
