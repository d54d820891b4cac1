"""SmolLM3: the Llama block; every fourth layer has no positions (NoPE).  arXiv:2501.18795 describes the mix."""

from llmc.frontend.arch import DECODER, Architecture, biases
from llmc.frontend.layers import Step, attention, residual, rms_norm, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

NO_POSITIONS_EVERY = 4


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    rotate = (s.layer + 1) % NO_POSITIONS_EVERY != 0
    x = residual(s, x, attention(s, rms_norm(s, x, w.vector("attn.norm", s.config.hidden)), w, rotate=rotate))
    return residual(s, x, swiglu(s, rms_norm(s, x, w.vector("ffn.norm", s.config.hidden)), w))


SMOLLM3 = Architecture(
    gguf="smollm3",
    papers="arXiv:2501.18795",
    weights={**DECODER, **biases("attn.q", "attn.k", "attn.v", "attn.out")},
    rope="interleaved",
    block=block,
)
