"""Ministral 3: the Llama block with YaRN, and queries that grow with the logarithm of their position.

https://huggingface.co/docs/transformers/model_doc/ministral3
"""

from dataclasses import replace

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.arch.llama import windowed_block
from llmc.frontend.config import Config, Keys, Temperature
from llmc.frontend.dialect import MAX_LENGTH, Dialect

PREFIX = "rope_parameters."


def adapt(config: Config, keys: Keys) -> Config:
    """The growth and the positions it starts from, where there is one."""
    beta = keys.name("attention.temperature_scale") if keys.gguf else f"{PREFIX}llama_4_scaling_beta"
    length = keys.name("rope.scaling.original_context_length") if keys.gguf else f"{PREFIX}original_max_position_embeddings"
    value = keys.checkpoint.number(beta, 0.0, low=0.0, high=1e3)
    if not value:
        return config
    return replace(config, temperature=Temperature(value, keys.checkpoint.integer(length, 1, MAX_LENGTH)))


MISTRAL3 = Architecture(
    gguf="mistral3",
    papers="transformers documentation, model_doc/ministral3",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",
    block=windowed_block,
    hf=("Ministral3ForCausalLM",),
    dialect=Dialect(windows=True),
    adapt=adapt,
)
