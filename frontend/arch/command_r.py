"""Command R: attention and feed-forward side by side on one layer norm without bias; logits are scaled.

https://huggingface.co/docs/transformers/model_doc/cohere
"""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import Architecture, without
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    n = norm(s, x, w, "attn.norm")
    return residual(s, residual(s, x, attention(s, n, w)), swiglu(s, n, w))


def adapt(config: Config, keys: Keys) -> Config:
    """The scale multiplies logits, and must be stated."""
    name = keys.name("logit_scale") if keys.gguf else "logit_scale"
    if not keys.gguf and keys.checkpoint.flag("use_qk_norm", False):
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: use_qk_norm is set; llmc cannot compile layer norms of heads")
    return replace(config, logit_scale=1.0 / keys.checkpoint.number(name, low=1e-6, high=1e6))


COMMAND_R = Architecture(
    gguf="command-r",
    papers="transformers documentation, model_doc/cohere",
    weights=without("ffn.norm"),
    rope="interleaved",
    block=block,
    norm="layer_norm",
    hf=("CohereForCausalLM",),
    hf_rope="interleaved",
    dialect=Dialect(tied=True),
    adapt=adapt,
)
