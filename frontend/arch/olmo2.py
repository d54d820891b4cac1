"""OLMo 2: norms after attention and feed-forward instead of before, and over all heads of q and of k.  arXiv:2501.00656."""

from llmc.frontend.arch import Architecture, without
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, norm(s, attention(s, x, w, row_norm=True), w, "attn.post_norm"))
    return residual(s, x, norm(s, swiglu(s, x, w), w, "ffn.post_norm"))


OLMO2 = Architecture(
    gguf="olmo2",
    papers="arXiv:2501.00656",
    weights={
        **without("attn.norm", "ffn.norm"),
        "attn.q_norm": "blk.{i}.attn_q_norm.weight",
        "attn.k_norm": "blk.{i}.attn_k_norm.weight",
        "attn.post_norm": "blk.{i}.post_attention_norm.weight",
        "ffn.post_norm": "blk.{i}.post_ffw_norm.weight",
    },
    rope="half",
    block=block,
)
