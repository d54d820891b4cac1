"""Qwen 3 with experts in the place of the feed-forward block.  arXiv:2505.09388."""

from dataclasses import replace

from llmc.frontend.arch import EXPERTS
from llmc.frontend.arch.qwen3 import QWEN3
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys

KEYS = ExpertKeys(
    ("Qwen3MoeForCausalLM",),
    normalize="norm_topk_prob",
    normalized=False,
    step="decoder_sparse_step",
    dense="mlp_only_layers",
)

QWEN3_MOE = replace(
    QWEN3, gguf="qwen3moe", hf=("Qwen3MoeForCausalLM",), experts=EXPERTS, dialect=Dialect(experts=KEYS)
)
