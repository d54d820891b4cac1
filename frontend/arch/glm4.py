"""GLM-4 (0414): a norm before and after attention and feed-forward, half of each head rotates, gate and up in one matrix.

https://huggingface.co/docs/transformers/model_doc/glm4
"""

from llmc.frontend.arch import Architecture, biases, without
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, norm(s, attention(s, norm(s, x, w, "attn.norm"), w), w, "attn.post_norm"))
    return residual(s, x, norm(s, swiglu(s, norm(s, x, w, "ffn.norm"), w), w, "ffn.post_norm"))


GLM4 = Architecture(
    gguf="glm4",
    papers="transformers documentation, model_doc/glm4",
    weights={
        **without("ffn.gate", "ffn.up"),
        **biases("attn.q", "attn.k", "attn.v"),
        "attn.post_norm": "blk.{i}.post_attention_norm.weight",
        "ffn.gate_up": "blk.{i}.ffn_up.weight",
        "ffn.post_norm": "blk.{i}.post_ffw_norm.weight",
    },
    rope="interleaved",
    block=block,
)
