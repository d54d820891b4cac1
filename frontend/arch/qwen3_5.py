"""Qwen 3.5, the language model: Qwen 3 Next's layers, whose delta rule has a matrix for each of its inputs, and SwiGLU.

GGUF files have the heads of the delta rule's values in another order: all that are the first of their key head, then the second.
https://huggingface.co/docs/transformers/model_doc/qwen3_5, arXiv:2412.06464
"""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ATTENTION, ATTENTION_NAMES, DECODER, QK_NORMS, Architecture, biases, without
from llmc.frontend.arch.qwen3_next import QWEN3_NEXT, block, implied, recurrent_layers
from llmc.frontend.config import Config, Keys
from llmc.frontend.derived import negated_exp
from llmc.frontend.dialect import Dialect
from llmc.frontend.recurrent import gguf_delta, huggingface_delta

MODULE = "model.layers.{i}.linear_attn"


def adapt(config: Config, keys: Keys) -> Config:
    if keys.gguf:
        return replace(config, delta=gguf_delta(keys, "tiled"), recurrent=recurrent_layers(config, keys))
    if not keys.checkpoint.flag("attn_output_gate", True):
        raise UnsupportedModelError("config.json: attn_output_gate is false; llmc compiles this family with gates")
    return replace(config, delta=huggingface_delta(keys.checkpoint))


QWEN3_5 = Architecture(
    gguf="qwen35",
    papers="transformers documentation, model_doc/qwen3_5",
    weights={**without(*ATTENTION), "ffn.norm": ("blk.{i}.post_attention_norm.weight", DECODER["ffn.norm"][1])},
    attention={**ATTENTION_NAMES, **QK_NORMS, **biases(*ATTENTION)},
    recurrent={
        **{name: QWEN3_NEXT.recurrent[name] for name in ("delta.conv", "delta.dt_bias", "delta.a", "delta.norm", "delta.out")},
        "delta.qkv": ("blk.{i}.attn_qkv.weight", f"{MODULE}.in_proj_qkv.weight"),
        "delta.z": ("blk.{i}.attn_gate.weight", f"{MODULE}.in_proj_z.weight"),
        "delta.b": ("blk.{i}.ssm_beta.weight", f"{MODULE}.in_proj_b.weight"),
        "delta.a_step": ("blk.{i}.ssm_alpha.weight", f"{MODULE}.in_proj_a.weight"),
    },
    rope="half",
    block=block,
    hf=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(recurrent=("linear_attention",), plus_one=True),
    hf_stored={"delta.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    unused=(r"mtp\..*",),
    adapt=adapt,
)
