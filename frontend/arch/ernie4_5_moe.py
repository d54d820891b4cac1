"""ERNIE 4.5 MoE: the Llama block with experts chosen by softmax and a bias, beside a network of all tokens.

https://huggingface.co/docs/transformers/model_doc/ernie4_5_moe. Files pair neighbours where heads rotate.
"""

from dataclasses import replace

from llmc.frontend.arch import ATTENTION, CHOICE_BIAS, DECODER, EXPERTS, FEED_FORWARD, Architecture, biases, shared_experts
from llmc.frontend.arch.llama import block
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.views import vector

CLASS = "Ernie4_5_MoeForCausalLM"
STORED, SHOWN = (f"model.layers.{{i}}.mlp.{name}" for name in ("moe_statics.e_score_correction_bias", "choice_bias"))


def adapt(config: Config, keys: Keys) -> Config:
    """A directory says which layer with experts is the last: -1 is the model's last."""
    if keys.gguf or config.experts is None:
        return config
    end = keys.checkpoint.integer("moe_layer_end_index", -1, config.layers, -1)
    last = config.layers if end == -1 else end
    layers = tuple(has and i <= last for i, has in enumerate(config.experts.layers))
    return replace(config, experts=replace(config.experts, layers=layers))


def views(checkpoint: Checkpoint, config: Config) -> dict[str, Derived]:
    """The bias of a directory, which is stored as a matrix of one row."""
    pairs = ((checkpoint.tensors.get(STORED.format(i=i)), SHOWN.format(i=i)) for i in range(config.layers))
    return {name: vector(stored, name) for stored, name in pairs if stored is not None}


ERNIE4_5_MOE = Architecture(
    gguf="ernie4_5-moe",
    papers="transformers documentation, model_doc/ernie4_5_moe",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",
    block=block,
    hf=(CLASS,),
    hf_rope="interleaved",
    hf_biases={"use_bias": (*ATTENTION, *FEED_FORWARD)},
    dialect=Dialect(
        tied=True,
        rope_base=500000.0,
        experts=ExpertKeys(
            (CLASS,),
            used="moe_k",
            shared_count="moe_num_shared_experts",
            leading="moe_layer_start_index",
            step="moe_layer_interval",
        ),
    ),
    experts={**EXPERTS, "ffn.choice_bias": (CHOICE_BIAS["ffn.choice_bias"][0], SHOWN), **shared_experts("shared_experts")},
    optional=tuple(CHOICE_BIAS),
    views=views,
    adapt=adapt,
)
