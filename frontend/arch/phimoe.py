"""Phi 3.5 MoE: layer norms and biases, experts chosen one after the other by SparseMixer.  arXiv:2404.14219, arXiv:2409.12136.

GGUF files are refused: engines of that format weigh experts by a softmax and normalise otherwise.
"""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ALWAYS, ATTENTION, Architecture, biases, without
from llmc.frontend.arch.llama import MIXTRAL_EXPERTS
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

CLASS = "PhimoeForCausalLM"
JITTER = 0.01  # where the file does not say


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


def adapt(config: Config, keys: Keys) -> Config:
    """How near a logit must be to the largest."""
    if keys.gguf:
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: llmc compiles phimoe from Hugging Face directories")
    if config.rope_scaling.kind == "longrope":
        config = replace(config, rope_scaling=replace(config.rope_scaling, attention_factor=_magnitude(keys)))
    if config.experts is None:
        return config
    jitter = keys.checkpoint.number("router_jitter_noise", JITTER, low=0.0, high=1e3)
    return replace(config, experts=replace(config.experts, jitter=jitter, normalize=False))


def _magnitude(keys: Keys) -> float:
    """What cos and sin are multiplied by: one factor for short and one for long contexts, which must be the same."""
    c = keys.checkpoint
    prefix = "rope_parameters." if "rope_parameters.short_mscale" in c.keys else "rope_scaling."
    short, long = (c.number(f"{prefix}{name}_mscale", low=1e-6, high=1e6) for name in ("short", "long"))
    if short != long:
        found = f"{c.key_file}: {prefix}short_mscale is {short} and long_mscale {long}"
        raise UnsupportedModelError(f"{found}; llmc compiles equal ones")
    return short


PHIMOE = Architecture(
    gguf="phimoe",
    papers="arXiv:2404.14219, arXiv:2409.12136",
    weights={**without("ffn.gate", "ffn.up", "ffn.down"), **biases("attn.norm", *ATTENTION, "ffn.norm")},
    rope="half",
    block=block,
    hf=(CLASS,),
    hf_biases={ALWAYS: ("attn.norm", "ffn.norm", "norm"), "attention_bias": ATTENTION, "lm_head_bias": ("head",)},
    dialect=Dialect(rope_base=1e6, experts=ExpertKeys((CLASS,), intermediate="intermediate_size", gate="sparsemixer")),
    model={
        "norm.bias": ("output_norm.bias", "model.norm.bias"),
        "head.bias": ("output.bias", "lm_head.bias"),
    },
    experts=MIXTRAL_EXPERTS,
    norm="layer_norm",
    implied=lambda keys: {"layer_norm_eps": keys.checkpoint.keys.get("rms_norm_eps")},
    adapt=adapt,
)
