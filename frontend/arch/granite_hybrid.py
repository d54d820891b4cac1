"""Granite 4: Mamba-2 in most layers, attention without positions in the others, Granite's factors, mostly experts.

https://huggingface.co/docs/transformers/model_doc/granitemoehybrid
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import ATTENTION, ATTENTION_NAMES, Architecture, biases, mamba2_names, without
from llmc.frontend.arch.falcon_h1 import HF_SIZES
from llmc.frontend.arch.granite_moe import GRANITE_MOE, SHARED, views
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.derived import negated_exp
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.layers_recurrent import mamba2
from llmc.frontend.recurrent import gguf_ssm, huggingface_ssm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

CLASSES = ("GraniteMoeHybridForCausalLM",)


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    normed = norm(s, x, w, "attn.norm")
    x = residual(s, x, mamba2(s, normed, w) if s.config.is_recurrent(s.layer) else attention(s, normed, w))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    return _gguf(config, keys) if keys.gguf else _huggingface(config, keys)


def _gguf(config: Config, keys: Keys) -> Config:
    """Files say that nothing rotates by a key that is about something else."""
    rotates = keys.checkpoint.flag(keys.name("rope.scaling.finetuned"), True)
    return replace(config, ssm=gguf_ssm(keys), rope_dims=config.rope_dims if rotates else 0)


def _huggingface(config: Config, keys: Keys) -> Config:
    """The network that every token passes through is all there is in models without experts."""
    checkpoint = keys.checkpoint
    inner = checkpoint.integer("mamba_expand", 1, 1024, 2) * config.hidden
    rotates = checkpoint.string("position_embedding_type", None) == "rope"
    wide = config.intermediate if config.experts else checkpoint.integer("shared_intermediate_size", 1, MAX_DIM)
    return replace(
        config, ssm=huggingface_ssm(checkpoint, HF_SIZES, inner), rope_dims=config.rope_dims if rotates else 0, intermediate=wide
    )


def implied(keys: Keys) -> Mapping[str, Any]:
    layers = keys.integer("layers", high=1 << 16)
    return {"layer_types": ["linear_attention"] * layers, "mamba_conv_bias": True}


LAYER = "model.layers.{i}"
GRANITE_HYBRID = Architecture(
    gguf="granitehybrid",
    papers="transformers documentation, model_doc/granitemoehybrid",
    weights={
        **without(*ATTENTION),
        "ffn.gate": ("blk.{i}.ffn_gate.weight", f"{SHARED}.gate"),
        "ffn.up": ("blk.{i}.ffn_up.weight", f"{SHARED}.up"),
        "ffn.down": ("blk.{i}.ffn_down.weight", f"{SHARED}.output_linear.weight"),
    },
    attention={**ATTENTION_NAMES, **biases(*ATTENTION)},
    recurrent=mamba2_names(f"{LAYER}.mamba"),
    experts=GRANITE_MOE.experts,
    rope="interleaved",
    block=block,
    hf=CLASSES,
    hf_biases={"attention_bias": ATTENTION, "mamba_conv_bias": ("ssm.conv",), "mamba_proj_bias": ("ssm.in", "ssm.out")},
    dialect=Dialect(
        experts=ExpertKeys(CLASSES, intermediate="intermediate_size", shared="shared_intermediate_size"),
        recurrent=("linear_attention", "mamba"),
    ),
    hf_stored={"ssm.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    views=views,
    adapt=adapt,
)
