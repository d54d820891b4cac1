"""Apertus: the Llama block with heads of q and k normalised, and xIELU without a gate, whose parameters each layer has learned.

arXiv:2509.14233, arXiv:2411.13010. GGUF files hold the parameters as keys, Hugging Face files as tensors.
"""

from decimal import Decimal, localcontext

import numpy as np

from llmc.errors import MalformedFileError
from llmc.frontend.arch import ATTENTION, QK_NORMS, Architecture, biases, without
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value
from llmc.ir.quant import dequantize

PARAMETERS = ("alpha_p", "alpha_n", "beta", "eps")
LARGE = 100.0  # far above what training gives; e^x of larger numbers is no longer interesting
LAYER = "model.layers.{i}."


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, qk_norm=True))
    parameters = s.builder.constant(f"xielu.{s.layer}", np.array(xielu_parameters(w, s.config.layers), np.float32))
    return residual(s, x, mlp(s, norm(s, x, w, "ffn.norm"), w, "xielu", parameters))


def xielu_parameters(w: Weights, layers: int) -> tuple[float, ...]:
    """p, n, b, eps of a layer: p = softplus(alpha_p), n = b + softplus(alpha_n)."""
    alpha_p, alpha_n, beta, eps = (_parameter(w, name, layers) for name in PARAMETERS)
    return _softplus(alpha_p), beta + _softplus(alpha_n), beta, eps


def _parameter(w: Weights, name: str, layers: int) -> float:
    if w.checkpoint.container == "gguf":
        key = f"xielu.{name}"  # without the family's prefix
        values = w.checkpoint.numbers(key)
        if len(values) not in (1, layers):
            raise w.checkpoint.wrong(key, f"has {len(values)} elements, expected one for each of {layers} layers")
        value, what = float(values[w.layer if len(values) > 1 else 0]), key
    else:
        what = w.names[f"xielu.{name}"].format(i=w.layer)
        tensor = w.checkpoint.tensors[what]
        w.used.add(what)
        elements = dequantize(tensor.format, w.checkpoint.data(what))
        if elements.size != 1:
            raise MalformedFileError(f"tensor {what} has {elements.size} elements, expected one")
        value = float(elements.reshape(-1)[0])
    if not abs(value) < LARGE:
        raise MalformedFileError(f"{what} is {value}, expected a number between -{LARGE:g} and {LARGE:g}")
    return value


def _softplus(x: float) -> float:
    """ln(1 + e^x), the same on every machine."""
    with localcontext(prec=40):
        return float((1 + Decimal(x).exp()).ln())


APERTUS = Architecture(
    gguf="apertus",
    papers="arXiv:2509.14233, arXiv:2411.13010",
    weights={
        **without("ffn.gate"),
        **QK_NORMS,
        **biases(*ATTENTION),
        "attn.norm": ("blk.{i}.attn_norm.weight", f"{LAYER}attention_layernorm.weight"),
        "ffn.norm": ("blk.{i}.ffn_norm.weight", f"{LAYER}feedforward_layernorm.weight"),
        **{f"xielu.{name}": ("", f"{LAYER}mlp.act_fn.{name}") for name in PARAMETERS},
    },
    rope="half",
    block=block,
    hf=("ApertusForCausalLM",),
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(activations=("xielu",)),
)
