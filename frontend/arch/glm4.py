"""GLM-4 (2025): the Llama block with norms after attention and feed-forward too, gate and up in one matrix; heads rotate by half.

https://huggingface.co/docs/transformers/model_doc/glm4
"""

from llmc.frontend.arch import Architecture, biases, without
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

QKV = ("attn.q", "attn.k", "attn.v")


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, norm(s, attention(s, norm(s, x, w, "attn.norm"), w), w, "attn.post_norm"))
    return residual(s, x, norm(s, swiglu(s, norm(s, x, w, "ffn.norm"), w), w, "ffn.post_norm"))


GLM4 = Architecture(
    gguf="glm4",
    papers="transformers documentation, model_doc/glm4",
    weights={
        **without("ffn.gate", "ffn.up"),
        **biases(*QKV),
        "attn.post_norm": ("blk.{i}.post_attention_norm.weight", "model.layers.{i}.post_self_attn_layernorm.weight"),
        "ffn.gate_up": ("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.gate_up_proj.weight"),
        "ffn.post_norm": ("blk.{i}.post_ffw_norm.weight", "model.layers.{i}.post_mlp_layernorm.weight"),
    },
    rope="interleaved",
    block=block,
    hf=("Glm4ForCausalLM",),
    hf_rope="interleaved",
    hf_biases={"attention_bias": QKV},
    implied=lambda keys: {"partial_rotary_factor": 0.5},
)
