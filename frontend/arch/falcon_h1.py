"""Falcon-H1: attention and a Mamba-2 layer side by side on one norm, with a factor for almost every product.  arXiv:2507.22448.

GGUF files have the factors in the weights; for Hugging Face files they are applied to the products, and those of x, B and C to
the taps of the convolution, which is linear.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases, mamba2_names
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.derived import Rewritten, negated_exp, scaled_rows
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.layers_recurrent import mamba2
from llmc.frontend.recurrent import gguf_ssm, huggingface_ssm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

HF_SIZES = {
    "state": "mamba_d_state", "taps": "mamba_d_conv", "heads": "mamba_n_heads", "groups": "mamba_n_groups",
    "head_dim": "mamba_d_head",
}  # fmt: skip
SEGMENTS = ("ssm.z", "ssm.x", "ssm.b", "ssm.c", "ssm.dt")  # of ssm_multipliers


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    normed = norm(s, x, w, "attn.norm")
    mixed = mamba2(s, normed, w, gate="after" if s.config.norm_first else "before")
    x = residual(s, residual(s, x, mixed), attention(s, normed, w))
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    checkpoint = keys.checkpoint
    if keys.gguf:
        return replace(config, ssm=gguf_ssm(keys))
    inner = checkpoint.integer("mamba_d_ssm", 1, MAX_DIM, checkpoint.integer("mamba_expand", 1, 1024, 2) * config.hidden)
    head = checkpoint.number("lm_head_multiplier", 1.0, low=1e-9, high=1e9)
    return replace(
        config, ssm=huggingface_ssm(checkpoint, HF_SIZES, inner), factors=_factors(checkpoint), logit_scale=1.0 / head,
        norm_first=checkpoint.flag("mamba_norm_before_gate", True),
    )  # fmt: skip


def _factors(checkpoint: Checkpoint) -> dict[str, float]:
    """Of each product, by the name of its weight."""

    def one(name: str) -> float:
        return checkpoint.number(name, 1.0, low=-1e9, high=1e9)

    def several(name: str, count: int) -> list[float]:
        values = checkpoint.numbers(name, (1.0,) * count)
        if len(values) != count:
            raise checkpoint.wrong(name, f"has {len(values)} elements, expected {count}")
        return [*map(float, values)]

    before, key, entering = one("attention_in_multiplier"), one("key_multiplier"), one("ssm_in_multiplier")
    for factor, flag in ((before, "attention_bias"), (entering, "mamba_proj_bias")):
        if factor != 1.0 and checkpoint.flag(flag, False):
            raise UnsupportedModelError(f"{checkpoint.key_file}: {flag} with a factor of {factor} before the product")
    gate, down = several("mlp_multipliers", 2)
    segments = dict(zip(SEGMENTS, several("ssm_multipliers", 5), strict=True))
    return {
        "attn.q": before, "attn.k": before * key, "attn.v": before, "attn.out": one("attention_out_multiplier"),
        "ffn.gate": gate, "ffn.down": down, "ssm.out": one("ssm_out_multiplier"),
        **{name: factor * entering for name, factor in segments.items()},
    }  # fmt: skip


def scaled_taps(tensor: Tensor, config: Config) -> Rewritten:
    """The taps of x, B and C times the factors of these."""
    assert config.ssm is not None
    m, rows = config.ssm, config.ssm.groups * config.ssm.state
    counts = {"ssm.x": m.inner, "ssm.b": rows, "ssm.c": rows}
    return scaled_rows(tensor, np.concatenate([np.full(n, config.factors[name]) for name, n in counts.items()]))


def implied(keys: Keys) -> Mapping[str, Any]:
    return {"mamba_conv_bias": True}


LAYER = "model.layers.{i}"
FALCON_H1 = Architecture(
    gguf="falcon-h1",
    papers="arXiv:2507.22448",
    weights={
        **DECODER,
        **biases(*ATTENTION, *FEED_FORWARD),
        **mamba2_names(f"{LAYER}.mamba"),
        "ffn.norm": ("blk.{i}.ffn_norm", f"{LAYER}.pre_ff_layernorm.weight"),
        "ffn.gate": ("blk.{i}.ffn_gate.weight", f"{LAYER}.feed_forward.gate_proj.weight"),
        "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}.feed_forward.up_proj.weight"),
        "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}.feed_forward.down_proj.weight"),
    },
    rope="half",
    block=block,
    hf=("FalconH1ForCausalLM",),
    hf_biases={
        "attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD, "mamba_conv_bias": ("ssm.conv",), "mamba_proj_bias": ("ssm.in",),
        "projectors_bias": ("ssm.out",),
    },
    variant={"ssm.norm": "mamba_rms_norm"},
    model={"norm": ("output_norm.weight", "model.final_layernorm.weight")},
    hf_stored={"ssm.a": lambda tensor, config: negated_exp(tensor), "ssm.conv": scaled_taps},
    implied=implied,
    adapt=adapt,
)  # fmt: skip
