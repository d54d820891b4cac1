"""Granite 3: the Llama block with factors on embedding, attention, residual and logits, all of them keys of the checkpoint.

https://huggingface.co/docs/transformers/model_doc/granite
"""

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.arch.llama import block

GRANITE = Architecture(
    gguf="granite",
    papers="transformers documentation, model_doc/granite",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",
    block=block,
    hf=("GraniteForCausalLM",),
    hf_biases={"attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
)
