"""Qwen 2 and 2.5: the Llama block with biases on q, k and v, rotary halves.  arXiv:2407.10671, arXiv:2412.15115."""

from llmc.frontend.arch import ALWAYS, ATTENTION, DECODER, Architecture, biases
from llmc.frontend.arch.llama import block

QWEN2 = Architecture(
    gguf="qwen2",
    papers="arXiv:2407.10671, arXiv:2412.15115",
    weights={**DECODER, **biases(*ATTENTION)},
    rope="half",
    block=block,
    hf=("Qwen2ForCausalLM",),
    hf_biases={ALWAYS: ("attn.q", "attn.k", "attn.v")},
)
