"""StableLM 2: the Llama block with layer norms, and a quarter of each head rotates.  arXiv:2402.17834."""

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import DECODER, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """Refuses the 12B model's parallel block."""
    name = keys.name("use_parallel_residual")
    if keys.checkpoint.flag(name, False):
        raise UnsupportedModelError(f"{name} is true; llmc compiles stablelm without parallel residual")
    return config


STABLELM = Architecture(
    gguf="stablelm",
    papers="arXiv:2402.17834",
    weights={**DECODER, **biases("attn.norm", "attn.q", "attn.k", "attn.v", "ffn.norm")},
    rope="half",
    block=block,
    norm="layer_norm",
    adapt=adapt,
)
