"""StarCoder 2: layer norms and biases throughout, GELU without a gate.  arXiv:2402.19173."""

from llmc.frontend.arch import ATTENTION, Architecture, biases, without
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, mlp(s, norm(s, x, w, "ffn.norm"), w))


STARCODER2 = Architecture(
    gguf="starcoder2",
    papers="arXiv:2402.19173",
    weights={**without("ffn.gate"), **biases("attn.norm", *ATTENTION, "ffn.norm", "ffn.up", "ffn.down")},
    rope="half",
    block=block,
    norm="layer_norm",
)
