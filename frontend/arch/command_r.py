"""Command R: attention and feed-forward side by side on one layer norm without bias; logits are scaled. The large model has a
layer norm for each head of q and k.

https://huggingface.co/docs/transformers/model_doc/cohere
"""

from dataclasses import replace

from llmc.frontend.arch import ATTENTION, QK_NORMS, Architecture, biases, without
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    n = norm(s, x, w, "attn.norm")
    return residual(s, residual(s, x, attention(s, n, w, qk_norm=w.has("attn.q_norm"))), swiglu(s, n, w))


def adapt(config: Config, keys: Keys) -> Config:
    """The scale multiplies logits, and must be stated."""
    name = keys.name("logit_scale") if keys.gguf else "logit_scale"
    return replace(config, logit_scale=1.0 / keys.checkpoint.number(name, low=1e-6, high=1e6))


COMMAND_R = Architecture(
    gguf="command-r",
    papers="transformers documentation, model_doc/cohere",
    weights={**without("ffn.norm"), **QK_NORMS, **biases(*ATTENTION)},
    rope="interleaved",
    block=block,
    norm="layer_norm",
    hf=("CohereForCausalLM",),
    hf_rope="interleaved",
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(tied=True),
    variant=dict.fromkeys(QK_NORMS, "use_qk_norm"),
    adapt=adapt,
)
