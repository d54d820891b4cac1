"""StarCoder 2: layer norms and biases throughout, GELU without a gate.  arXiv:2402.19173."""

from llmc.frontend.arch import ALWAYS, ATTENTION, DECODER, Architecture, biases, without
from llmc.frontend.dialect import GELU_TANH, Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

LINEARS = (*ATTENTION, "ffn.up", "ffn.down")
NAMES = {
    **without("ffn.gate"),
    "ffn.up": (DECODER["ffn.up"][0], "model.layers.{i}.mlp.c_fc.weight"),
    "ffn.down": (DECODER["ffn.down"][0], "model.layers.{i}.mlp.c_proj.weight"),
}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]. A window, if there is one, is every layer's."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, local=True))
    return residual(s, x, mlp(s, norm(s, x, w, "ffn.norm"), w))


STARCODER2 = Architecture(
    gguf="starcoder2",
    papers="arXiv:2402.19173",
    weights={**NAMES, **biases("attn.norm", "ffn.norm", *LINEARS, of=NAMES)},
    rope="half",
    block=block,
    hf=("Starcoder2ForCausalLM",),
    hf_biases={ALWAYS: ("attn.norm", "ffn.norm", "norm"), "use_bias": LINEARS},
    dialect=Dialect(activations=GELU_TANH, tied=True, windows=True),
    norm="layer_norm",
    model={"norm.bias": ("output_norm.bias", "model.norm.bias")},
    implied=lambda keys: {"use_bias": True},
)
