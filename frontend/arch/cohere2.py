"""Command R7B and Command A: Command R's block; three layers with a window that rotate, then one without either.

arXiv:2504.00698.
"""

from llmc.frontend.arch import ATTENTION, Architecture, biases, without
from llmc.frontend.arch.command_r import adapt
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 4


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    n, local = norm(s, x, w, "attn.norm"), s.local(WINDOW_EVERY)
    return residual(s, residual(s, x, attention(s, n, w, rotate=local, local=local)), swiglu(s, n, w))


COHERE2 = Architecture(
    gguf="cohere2",
    papers="arXiv:2504.00698",
    weights={**without("ffn.norm"), **biases(*ATTENTION)},
    rope="interleaved",
    block=block,
    norm="layer_norm",
    hf=("Cohere2ForCausalLM",),
    hf_rope="interleaved",
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(tied=True, windows=True),
    adapt=adapt,
)
