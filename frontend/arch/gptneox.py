"""GPT-NeoX and Pythia: q, k, v in one matrix, biases throughout, attention and feed-forward side by side on norms of their own.

arXiv:2204.06745, arXiv:2304.01373. Files do not say which GELU a model has: it is erf's, as in Pythia. The tanh
form of GPT-NeoX-20B differs from that by at most 5e-4.
"""

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import Architecture, biases, without
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    total = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, total, mlp(s, norm(s, x, w, "ffn.norm"), w, "gelu_erf"))


def adapt(config: Config, keys: Keys) -> Config:
    """Refuses the sequential block."""
    name = keys.name("use_parallel_residual")
    if not keys.checkpoint.flag(name, True):
        raise UnsupportedModelError(f"{name} is false; llmc compiles gptneox with parallel residual")
    return config


GPTNEOX = Architecture(
    gguf="gptneox",
    papers="arXiv:2204.06745, arXiv:2304.01373",
    weights={
        **without("attn.q", "attn.k", "attn.v", "ffn.gate"),
        **biases("attn.norm", "attn.out", "ffn.norm", "ffn.up", "ffn.down"),
        "attn.qkv": "blk.{i}.attn_qkv.weight",
        "attn.qkv.bias": "blk.{i}.attn_qkv.bias",
    },
    rope="half",
    block=block,
    norm="layer_norm",
    adapt=adapt,
)
