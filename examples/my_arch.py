"""An architecture in a file of one's own: llmc compile MODEL --arch my_arch.py. frontend/arch/README.md walks through it.

This one is a Llama block whose heads of q and k are normalised before they rotate, under names that llmc does not know.
"""

from llmc.frontend.arch import DECODER, QK_NORMS, Architecture
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, qk_norm=True))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


ARCHITECTURE = Architecture(
    gguf="mymodel",  # what general.architecture says in GGUF files
    hf=("MyModelForCausalLM",),  # what architectures says in config.json
    papers="none yet",
    weights={**DECODER, **QK_NORMS},  # llmc's name -> (GGUF, Hugging Face)
    rope="half",  # how GGUF files pair rotated features; hf_rope says it of Hugging Face files
    block=block,
)
