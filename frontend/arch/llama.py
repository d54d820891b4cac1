"""Llama 1 to 3, Mistral and what is shaped like them: pre-norm, grouped-query attention, rotary positions, SwiGLU.

arXiv:2302.13971, arXiv:2307.09288, arXiv:2407.21783, arXiv:2310.06825.
"""

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.layers import Step, attention, residual, rms_norm, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, rms_norm(s, x, w.vector("attn.norm", s.config.hidden)), w))
    return residual(s, x, swiglu(s, rms_norm(s, x, w.vector("ffn.norm", s.config.hidden)), w))


LLAMA = Architecture(
    gguf="llama",
    papers="arXiv:2302.13971, arXiv:2307.09288, arXiv:2407.21783, arXiv:2310.06825",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",  # GGUF permutes the rows of q and k
    block=block,
    hf=("LlamaForCausalLM", "MistralForCausalLM"),
    hf_biases={"attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
)
