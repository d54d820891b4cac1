"""Qwen 3 Next: a gated delta rule in most layers, attention with an output gate in the others, experts everywhere.

https://huggingface.co/docs/transformers/model_doc/qwen3_next, arXiv:2412.06464
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llmc.frontend.arch import (
    ATTENTION,
    ATTENTION_NAMES,
    DECODER,
    EXPERTS,
    QK_NORMS,
    Architecture,
    biases,
    shared_experts,
    without,
)
from llmc.frontend.arch.qwen2_moe import KEYS, SHARED_ROUTER
from llmc.frontend.checkpoint import Checkpoint, Derived, Tensor
from llmc.frontend.config import Config, Keys
from llmc.frontend.derived import Rewritten, negated_exp, rows_in_order
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.layers_recurrent import gated_delta
from llmc.frontend.recurrent import gguf_delta, huggingface_delta
from llmc.frontend.views import gguf_fused_experts
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

LAYER = "model.layers.{i}"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    normed = norm(s, x, w, "attn.norm")
    recurrent = s.config.is_recurrent(s.layer)
    x = residual(s, x, gated_delta(s, normed, w) if recurrent else attention(s, normed, w, qk_norm=True, gated=True))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    if not keys.gguf:
        return replace(config, delta=huggingface_delta(keys.checkpoint))
    return replace(config, delta=gguf_delta(keys, "grouped"), recurrent=recurrent_layers(config, keys))


def recurrent_layers(config: Config, keys: Keys) -> tuple[bool, ...]:
    """Stated one by one, or all but the last of so many in a row."""
    stated = keys.pattern("attention.recurrent_layers", config.layers + keys.predicting)
    if stated is not None:
        return stated[: config.layers]
    every = keys.integer("full_attention_interval", high=config.layers, default=min(4, config.layers))
    return tuple((i + 1) % every != 0 for i in range(config.layers))


def implied(keys: Keys) -> Mapping[str, Any]:
    """Layers are attention every so many where the file does not list them."""
    checkpoint = keys.checkpoint
    layers, every = keys.integer("layers", high=1 << 16), checkpoint.integer("full_attention_interval", 1, 1 << 16, 4)
    kinds = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(layers)]
    return {"layer_types": kinds, "partial_rotary_factor": 0.25}


def by_kind(tensor: Tensor, config: Config) -> Rewritten:
    """Stored key head by key head, each with its query, key, values and gates; shown as all queries, keys, values, gates."""
    assert config.delta is not None
    d, each = config.delta, config.delta.values // config.delta.key_heads
    sizes = (d.key_dim, d.key_dim, each, each)
    rows = np.arange(sum(sizes) * d.key_heads).reshape(d.key_heads, -1)
    return rows_in_order(tensor, np.concatenate([part.reshape(-1) for part in np.split(rows, np.cumsum(sizes)[:-1], axis=1)]))


def views(checkpoint: Checkpoint, config: Config) -> Mapping[str, Derived]:
    return gguf_fused_experts(checkpoint.tensors, config.layers)


QWEN3_NEXT = Architecture(
    gguf="qwen3next",
    papers="transformers documentation, model_doc/qwen3_next",
    weights={**without(*ATTENTION), "ffn.norm": ("blk.{i}.post_attention_norm.weight", DECODER["ffn.norm"][1])},
    attention={**ATTENTION_NAMES, **QK_NORMS, **biases(*ATTENTION)},
    recurrent={
        "delta.in": ("", f"{LAYER}.linear_attn.in_proj_qkvz.weight"),
        "delta.qkv": "blk.{i}.attn_qkv.weight",
        "delta.z": "blk.{i}.attn_gate.weight",
        "delta.ba": ("blk.{i}.ssm_ba.weight", f"{LAYER}.linear_attn.in_proj_ba.weight"),
        "delta.conv": ("blk.{i}.ssm_conv1d.weight", f"{LAYER}.linear_attn.conv1d.weight"),
        "delta.dt_bias": ("blk.{i}.ssm_dt.bias", f"{LAYER}.linear_attn.dt_bias"),
        "delta.a": ("blk.{i}.ssm_a", f"{LAYER}.linear_attn.A_log"),
        "delta.norm": ("blk.{i}.ssm_norm.weight", f"{LAYER}.linear_attn.norm.weight"),
        "delta.out": ("blk.{i}.ssm_out.weight", f"{LAYER}.linear_attn.out_proj.weight"),
    },
    experts={**EXPERTS, **shared_experts("shared_expert"), **SHARED_ROUTER},
    rope="half",
    block=block,
    hf=("Qwen3NextForCausalLM",),
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(experts=replace(KEYS, classes=("Qwen3NextForCausalLM",)), recurrent=("linear_attention",), plus_one=True),
    hf_stored={"delta.in": by_kind, "delta.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    views=views,
    adapt=adapt,
)
