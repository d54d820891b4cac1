"""Hunyuan dense: the Llama block with heads of q and k normalised after they rotate.

https://huggingface.co/docs/transformers/model_doc/hunyuan_v1_dense. A fixed alpha raises the base of rotation; GGUF files hold
the raised base.
"""

from dataclasses import replace
from decimal import Decimal, localcontext

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, QK_NORMS, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, norm_last=True))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """base * alpha^(D / (D - 2)), D features of a head."""
    if keys.gguf:
        return config
    names = (f"{prefix}.alpha" for prefix in ("rope_parameters", "rope_scaling"))
    alpha = next((keys.checkpoint.number(name, low=1e-3, high=1e9) for name in names if keys.checkpoint.keys.get(name)), 0.0)
    if not alpha:
        return config
    with localcontext(prec=40):
        power = Decimal(config.head_dim) / (config.head_dim - 2)
        return replace(config, rope_base=float(Decimal(config.rope_base) * (power * Decimal(alpha).ln()).exp()))


HUNYUAN_DENSE = Architecture(
    gguf="hunyuan-dense",
    papers="transformers documentation, model_doc/hunyuan_v1_dense",
    weights={
        **DECODER,
        **biases(*ATTENTION, *FEED_FORWARD),
        "attn.q_norm": (QK_NORMS["attn.q_norm"][0], "model.layers.{i}.self_attn.query_layernorm.weight"),
        "attn.k_norm": (QK_NORMS["attn.k_norm"][0], "model.layers.{i}.self_attn.key_layernorm.weight"),
    },
    rope="half",
    block=block,
    hf=("HunYuanDenseV1ForCausalLM",),
    hf_biases={"attention_bias": ATTENTION},
    adapt=adapt,
)
