"""OLMo 1: the Llama block with layer norms that have no weights; q, k and v may be clamped.  arXiv:2402.00838."""

from llmc.frontend.arch import ATTENTION, Architecture, biases, without
from llmc.frontend.arch.stablelm import block

OLMO = Architecture(
    gguf="olmo",
    papers="arXiv:2402.00838",
    weights={**without("attn.norm", "ffn.norm"), **biases(*ATTENTION)},
    rope="interleaved",
    block=block,
    hf=("OlmoForCausalLM",),
    hf_biases={"attention_bias": ATTENTION},
    norm="layer_norm",
    model={"norm": ""},
    implied=lambda keys: {"layer_norm_eps": 1e-5},
)
