"""Gemma 1: the Llama block with GeGLU, scaled embeddings and norms that multiply by one more than what is stored.

arXiv:2403.08295.
"""

import math
from dataclasses import replace

from llmc.frontend.arch import ATTENTION, DECODER, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import GELU_TANH, Dialect
from llmc.frontend.layers import Step, attention, geglu, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, geglu(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """Embeddings are scaled."""
    return replace(config, embedding_scale=math.sqrt(config.hidden))


GEMMA = Architecture(
    gguf="gemma",
    papers="arXiv:2403.08295",
    weights={**DECODER, **biases(*ATTENTION)},
    rope="half",
    block=block,
    hf=("GemmaForCausalLM",),
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(activations=(*GELU_TANH, "gelu"), tied=True, plus_one=True),  # old files say gelu, and mean the tanh form
    adapt=adapt,
)
