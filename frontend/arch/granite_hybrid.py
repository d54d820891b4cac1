"""Granite 4: Mamba-2 in most layers, attention without positions in the others, Granite's factors, mostly experts.

https://huggingface.co/docs/transformers/model_doc/granitemoehybrid
"""

from dataclasses import replace

from llmc.frontend.arch import (
    ATTENTION,
    ATTENTION_NAMES,
    EXPERTS,
    Architecture,
    biases,
    mamba2_names,
    shared_experts,
    without,
)
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.layers_recurrent import mamba2
from llmc.frontend.recurrent import gguf_ssm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    normed = norm(s, x, w, "attn.norm")
    x = residual(s, x, mamba2(s, normed, w) if s.config.is_recurrent(s.layer) else attention(s, normed, w))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """Files say that nothing rotates by a key that is about something else."""
    rotates = keys.checkpoint.flag(keys.name("rope.scaling.finetuned"), True)
    return replace(config, ssm=gguf_ssm(keys), rope_dims=config.rope_dims if rotates else 0)


LAYER = "model.layers.{i}"
GRANITE_HYBRID = Architecture(
    gguf="granitehybrid",
    papers="transformers documentation, model_doc/granitemoehybrid",
    weights=without(*ATTENTION),
    attention={**ATTENTION_NAMES, **biases(*ATTENTION)},
    recurrent=mamba2_names(f"{LAYER}.mamba"),
    experts={**EXPERTS, **shared_experts("shared_mlp")},
    rope="interleaved",
    block=block,
    adapt=adapt,
)
