"""Granite 3: the Llama block with factors on embedding, attention, residual and logits, all of them keys of the checkpoint.

https://huggingface.co/docs/transformers/model_doc/granite
"""

from llmc.frontend.arch import DECODER, Architecture, biases
from llmc.frontend.arch.llama import block

GRANITE = Architecture(
    gguf="granite",
    papers="transformers documentation, model_doc/granite",
    weights={**DECODER, **biases("attn.q", "attn.k", "attn.v", "attn.out", "ffn.gate", "ffn.up", "ffn.down")},
    rope="interleaved",
    block=block,
)
