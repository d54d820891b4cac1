"""Qwen 3.5 with experts, the language model: in every layer, beside a network with a gate of its own.

https://huggingface.co/docs/transformers/model_doc/qwen3_5_moe
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import EXPERTS, shared_experts
from llmc.frontend.arch.qwen2_moe import SHARED_ROUTER
from llmc.frontend.arch.qwen3_5 import QWEN3_5
from llmc.frontend.arch.qwen3_next import implied as implied_layers
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config, Keys
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.views import fused_experts, gguf_fused_experts

CLASSES = ("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration")


def implied(keys: Keys) -> Mapping[str, Any]:
    """No layer has a feed-forward block, so that files need not say how wide one is."""
    return {**implied_layers(keys), "intermediate_size": keys.checkpoint.keys.get("moe_intermediate_size")}


def views(checkpoint: Checkpoint, config: Config) -> Mapping[str, Derived]:
    if checkpoint.container == "gguf":
        return gguf_fused_experts(checkpoint.tensors, config.layers)
    return fused_experts(checkpoint.tensors, "model.layers.{i}.mlp.experts", config.layers, transposed=False)


QWEN3_5_MOE = replace(
    QWEN3_5,
    gguf="qwen35moe",
    papers="transformers documentation, model_doc/qwen3_5_moe",
    hf=CLASSES,
    dialect=replace(QWEN3_5.dialect, experts=ExpertKeys(CLASSES, shared="shared_expert_intermediate_size")),
    experts={**EXPERTS, **shared_experts("shared_expert"), **SHARED_ROUTER},
    implied=implied,
    views=views,
)
