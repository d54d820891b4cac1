"""OLMoE: norms over all heads of q and of k, and experts whose weights are the softmax as it is.  arXiv:2409.02060."""

from llmc.frontend.arch import DECODER, EXPERTS, Architecture
from llmc.frontend.layers import Step, attention, experts, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, row_norm=True))
    return residual(s, x, experts(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


OLMOE = Architecture(
    gguf="olmoe",
    papers="arXiv:2409.02060",
    weights={
        **DECODER,
        "attn.q_norm": "blk.{i}.attn_q_norm.weight",
        "attn.k_norm": "blk.{i}.attn_k_norm.weight",
    },
    rope="half",
    block=block,
    experts=EXPERTS,
)
