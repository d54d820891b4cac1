"""ERNIE 4.5: the Llama block; its files pair neighbours where heads rotate.

https://huggingface.co/docs/transformers/model_doc/ernie4_5
"""

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.arch.llama import block
from llmc.frontend.dialect import Dialect

ERNIE4_5 = Architecture(
    gguf="ernie4_5",
    papers="transformers documentation, model_doc/ernie4_5",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",
    block=block,
    hf=("Ernie4_5ForCausalLM",),
    hf_rope="interleaved",
    hf_biases={"use_bias": (*ATTENTION, *FEED_FORWARD)},
    dialect=Dialect(tied=True, rope_base=500000.0),
)
