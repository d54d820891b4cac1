"""dots.llm1: Qwen 3's block with experts chosen by sigmoids and a bias, beside a network of all tokens.  arXiv:2506.05767."""

from dataclasses import replace

from llmc.frontend.arch import CHOICE_BIAS, EXPERTS, shared_experts
from llmc.frontend.arch.qwen3 import QWEN3
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

KEYS = ExpertKeys(
    ("Dots1ForCausalLM",),
    shared_count="n_shared_experts",
    gate="sigmoid",
    normalize="norm_topk_prob",
    normalized=False,
    scale="routed_scaling_factor",
    groups=("n_group", "topk_group"),
    leading="first_k_dense_replace",
)


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]. In GGUF files the function of the router is stated, and whether weights keep their sum."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, qk_norm=True))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


DOTS1 = replace(
    QWEN3,
    gguf="dots1",
    papers="arXiv:2506.05767",
    block=block,
    hf=("Dots1ForCausalLM",),
    dialect=Dialect(experts=KEYS),
    experts={**EXPERTS, **CHOICE_BIAS, **shared_experts("shared_experts")},
    optional=tuple(CHOICE_BIAS),
)
