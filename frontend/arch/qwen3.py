"""Qwen 3: the Llama block with each head of q and k normalised before it rotates.  arXiv:2505.09388."""

from llmc.frontend.arch import ATTENTION, DECODER, Architecture, biases
from llmc.frontend.layers import Step, attention, feed_forward, residual, rms_norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, rms_norm(s, x, w.vector("attn.norm", s.config.hidden)), w, qk_norm=True))
    return residual(s, x, feed_forward(s, rms_norm(s, x, w.vector("ffn.norm", s.config.hidden)), w))


QWEN3 = Architecture(
    gguf="qwen3",
    papers="arXiv:2505.09388",
    weights={
        **DECODER,
        **biases(*ATTENTION),
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
    },
    rope="half",
    block=block,
    hf=("Qwen3ForCausalLM",),
    hf_biases={"attention_bias": ATTENTION},
)
