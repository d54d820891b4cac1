"""Arcee's AFM 4.5B: the Llama block with ReLU squared in the place of SwiGLU.

https://huggingface.co/docs/transformers/model_doc/arcee
"""

from llmc.frontend.arch import ATTENTION, Architecture, biases, without
from llmc.frontend.arch.nemotron import FEED_FORWARD, block
from llmc.frontend.dialect import Dialect

ARCEE = Architecture(
    gguf="arcee",
    papers="transformers documentation, model_doc/arcee",
    weights={**without("ffn.gate"), **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",
    block=block,
    hf=("ArceeForCausalLM",),
    hf_biases={"attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
    dialect=Dialect(activations=("relu2",)),
)
