"""Phi 3, 3.5 and 4: the Llama block with q, k, v in one matrix, gate and up in another, and LongRoPE.

arXiv:2404.14219, arXiv:2412.08905, arXiv:2402.13753.
"""

from llmc.frontend.arch import Architecture, without
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]. The models for short contexts have a window in every layer."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, local=True))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


PHI3 = Architecture(
    gguf="phi3",
    papers="arXiv:2404.14219, arXiv:2412.08905",
    weights={
        **without("attn.q", "attn.k", "attn.v", "ffn.gate", "ffn.up"),
        "attn.qkv": ("blk.{i}.attn_qkv.weight", "model.layers.{i}.self_attn.qkv_proj.weight"),
        "ffn.gate_up": ("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.gate_up_proj.weight"),
    },
    rope="half",
    block=block,
    hf=("Phi3ForCausalLM",),
    dialect=Dialect(windows=True),
)
