"""Families without a recorded GGUF file, from files of random models of transformers, written as llama.cpp's converters do."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmc
from tests.e2e.reference import Compiled, kl
from tests.e2e.tiny_gguf import Array, Convert, Named, write
from tests.e2e.tiny_transformers import TOKENS, VOCAB, build, check

DELTA = {
    "head_dim": 32, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4, "num_hidden_layers": 3, "full_attention_interval": 2,
}  # fmt: skip
DELTA_KEYS = {
    "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.group_count": 2, "ssm.time_step_rank": 4, "ssm.inner_size": 64,
    "full_attention_interval": 2, "rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0],
}  # fmt: skip
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 48}
EXPERT_KEYS = {
    "expert_count": 6, "expert_used_count": 2, "expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 48,
    "feed_forward_length": None,
}  # fmt: skip


def by_value(part: Array, columns: bool = False) -> Array:
    """Heads of values, two for each of two key heads, in the order of ggml: the first of every key head, then the second."""
    part = part.T if columns else part
    turned = part.reshape(2, 2, -1, *part.shape[1:]).swapaxes(0, 1).reshape(part.shape)
    return turned.T if columns else turned


def delta(name: str, value: Array) -> Named:
    kind = name.rpartition("linear_attn.")[2]
    if kind in ("in_proj_qkv.weight", "conv1d.weight"):
        value = value.squeeze()
        value = np.concatenate([value[:64], by_value(value[64:])])
    elif kind in ("in_proj_z.weight", "in_proj_a.weight", "in_proj_b.weight", "dt_bias", "A_log"):
        value = by_value(-np.exp(value) if kind == "A_log" else value)
        name = name.replace(".dt_bias", ".dt_proj.bias")
    elif kind == "out_proj.weight":
        value = by_value(value, columns=True)
    elif name.endswith("norm.weight") and kind != "norm.weight":
        value = value + 1
    yield from experts(name, value)


def experts(name: str, value: Array) -> Named:
    """Gates and ups of experts, which transformers has in one tensor."""
    if not name.endswith("experts.gate_up_proj"):
        yield name + ".weight" * name.endswith("experts.down_proj"), value
        return
    for part, half in zip(("gate_proj", "up_proj"), np.split(value, 2, axis=1), strict=True):
        yield name.replace("gate_up_proj", f"{part}.weight"), half


def fused(name: str, value: Array) -> Named:
    """As `delta`, but gates and ups of experts stay together, as converters do when asked to."""
    keep = name.endswith("experts.gate_up_proj")
    yield from ((name.replace("gate_up_proj", "gate_up_proj.weight"), value),) if keep else delta(name, value)


LLAMA4 = {
    "head_dim": 16, "intermediate_size_mlp": 80, "intermediate_size": 48, "num_local_experts": 4, "num_experts_per_tok": 1,
    "num_hidden_layers": 4, "attention_chunk_size": 32, "floor_scale": 16, "attn_scale": 0.4, "interleave_moe_layer_step": 2,
}  # fmt: skip
LLAMA4_KEYS = {
    "feed_forward_length": 80, "expert_feed_forward_length": 48, "expert_count": 4, "expert_used_count": 1,
    "interleave_moe_layer_step": 2, "attention.sliding_window": 32, "attention.temperature_scale": 0.4,
    "attention.temperature_length": 16,
}  # fmt: skip


def llama4(name: str, value: Array) -> Named:
    """Experts are turned, and gates and ups apart."""
    yield from experts(name, value.swapaxes(1, 2) if value.ndim == 3 else value)


WINDOWED, FULL = "sliding_attention", "full_attention"
GEMMA3N = {
    "num_hidden_layers": 5, "layer_types": [WINDOWED, FULL, WINDOWED, WINDOWED, FULL], "num_kv_shared_layers": 2,
    "activation_sparsity_pattern": [0.95, 0.5, 0.0, 0.0, 0.8], "laurel_rank": 16, "hidden_size_per_layer_input": 16,
    "vocab_size_per_layer_input": VOCAB, "head_dim": 16, "sliding_window": 24, "tie_word_embeddings": True,
}  # fmt: skip
GEMMA3N_KEYS = {
    "altup.active_idx": 0, "altup.num_inputs": 4, "embedding_length_per_layer_input": 16, "attention.shared_kv_layers": 2,
    "activation_sparsity_scale": [1.6448536, 0.0, -math.inf, -math.inf, 0.8416212], "attention.sliding_window": 24,
    "attention.sliding_window_pattern": [True, False, True, True, False], "rope.freq_base": 1e6, "feed_forward_length": [96] * 5,
}  # fmt: skip


class Stacked:
    """Matrices between streams become one tensor of each kind, when the last of three is there."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Array]] = {}

    def __call__(self, name: str, value: Array) -> Named:
        kind, _, number = name.removesuffix(".weight").rpartition(".")
        if not kind.startswith("model.altup_"):
            yield name + ".weight" * name.endswith("_scale"), value
            return
        self.parts.setdefault(kind, []).append(value)
        if number == "2":
            yield f"{kind}.weight", np.stack(self.parts.pop(kind))


GEMMA4 = {
    "num_hidden_layers": 4, "layer_types": [WINDOWED, FULL, WINDOWED, FULL], "num_kv_shared_layers": 2, "head_dim": 16,
    "global_head_dim": 32, "num_global_key_value_heads": 1, "attention_k_eq_v": True, "use_double_wide_mlp": True,
    "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCAB, "sliding_window": 24, "tie_word_embeddings": True,
}  # fmt: skip
HEADS4 = {
    "attention.key_length": 32, "attention.value_length": 32, "attention.key_length_swa": 16, "attention.value_length_swa": 16,
    "rope.dimension_count": 32, "rope.dimension_count_swa": 16, "rope.freq_base": 1e6, "rope.freq_base_swa": 1e4,
    "attention.sliding_window": 24,
}  # fmt: skip
GEMMA4_KEYS = {
    **HEADS4, "attention.shared_kv_layers": 2, "embedding_length_per_layer_input": 16, "feed_forward_length": [96, 96, 192, 192],
    "attention.head_count_kv": [2, 1, 2, 1], "attention.sliding_window_pattern": [True, False, True, False],
}  # fmt: skip
GEMMA4_MOE = {
    "num_hidden_layers": 2, "layer_types": [WINDOWED, FULL], "head_dim": 16, "global_head_dim": 32, "sliding_window": 24,
    "hidden_size_per_layer_input": 0, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32,
    "tie_word_embeddings": True, "final_logit_softcapping": 20.0,
}  # fmt: skip
GEMMA4_MOE_KEYS = {
    **HEADS4, "attention.shared_kv_layers": 0, "embedding_length_per_layer_input": 0, "expert_count": 4, "expert_used_count": 2,
    "expert_feed_forward_length": 32, "attention.sliding_window_pattern": [True, False], "final_logit_softcapping": 20.0,
}  # fmt: skip


def gemma4(name: str, value: Array) -> Named:
    """What turns of larger heads is said by factors of frequencies; factors of experts are called those of their last matrix."""
    if name == "model.norm.weight":
        yield "rope_freqs.weight", np.array([1.0] * 4 + [1e30] * 12, np.float32)
    layer, _, kind = name.removeprefix("model.layers.").partition(".")
    renamed = {"router.scale": "ffn_gate_inp.scale", "router.per_expert_scale": "ffn_down_exps.scale"}
    if kind in renamed:
        yield f"blk.{layer}.{renamed[kind]}", value
    else:
        yield name + ".weight" * (kind == "layer_scalar" or kind.startswith("experts.")), value


MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any], Convert]] = {
    "qwen35": ("Qwen3_5", DELTA, DELTA_KEYS, delta),
    "qwen35moe": ("Qwen3_5Moe", {**DELTA, **EXPERTS, "intermediate_size": None}, {**DELTA_KEYS, **EXPERT_KEYS}, delta),
    "gemma3n": ("Gemma3n", GEMMA3N, GEMMA3N_KEYS, Stacked()),
    "gemma4": ("Gemma4", GEMMA4, GEMMA4_KEYS, gemma4),
    "gemma4 with experts": ("Gemma4", GEMMA4_MOE, GEMMA4_MOE_KEYS, gemma4),
    "llama4": ("Llama4", LLAMA4, LLAMA4_KEYS, llama4),
    "qwen35moe fused": ("Qwen3_5Moe", {**DELTA, **EXPERTS, "intermediate_size": None}, {**DELTA_KEYS, **EXPERT_KEYS}, fused),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, config, keys, convert = MODELS[name]
    tiny = build(family, tmp_path / "model", **config)
    check(tiny, compiled, source=write(tiny, name.partition(" ")[0], keys=keys, convert=convert))


INT8 = {"qwen35": 0.03, "llama4": 0.01}
"""Mean KL: a delta rule of random weights repeats a rounding for many tokens."""


@pytest.mark.parametrize("name", INT8)
def test_eight_bits_stay_close(name: str, tmp_path: Path) -> None:
    """Weights, activations and what experts are given in 8 bits, one by one and together in the same bits."""
    family, config, keys, convert = MODELS[name]
    tiny = build(family, tmp_path / "model", **config)
    llmc.compile(write(tiny, name, keys=keys, convert=convert), tmp_path / "out", targets=["cpu:native"], weights="q8_0")
    ids = np.random.default_rng(1).integers(2, VOCAB - 1, TOKENS).tolist()
    whole = llmc.load(tmp_path / "out", threads=2).logits(ids)
    divergence = kl(tiny.logits(ids), whole).mean()
    assert 0 < divergence <= INT8[name]
    assert np.array_equal(llmc.load(tmp_path / "out", threads=1).logits(ids, chunks=[1] * TOKENS), whole)
