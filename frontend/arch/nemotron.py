"""Nemotron 3 and 4: layer norms that multiply by one more than what is stored, ReLU squared, half of each head rotates.

arXiv:2402.16819, arXiv:2407.14679. GGUF files have the one added.
"""

from llmc.frontend.arch import ALWAYS, ATTENTION, Architecture, biases, without
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

FEED_FORWARD = ("ffn.up", "ffn.down")


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, mlp(s, norm(s, x, w, "ffn.norm"), w, "relu2"))


NEMOTRON = Architecture(
    gguf="nemotron",
    papers="arXiv:2402.16819, arXiv:2407.14679",
    weights={**without("ffn.gate"), **biases("attn.norm", "ffn.norm", *ATTENTION, *FEED_FORWARD)},
    rope="half",
    block=block,
    hf=("NemotronForCausalLM",),
    hf_biases={ALWAYS: ("attn.norm", "ffn.norm", "norm"), "attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
    dialect=Dialect(activations=("relu2",), plus_one=True),
    norm="layer_norm",
    model={"norm.bias": ("output_norm.bias", "model.norm.bias")},
    implied=lambda keys: {"partial_rotary_factor": 0.5},
)
