"""Qwen 1.5 MoE and Qwen 2 57B-A14B: the Qwen 2 block with experts, and beside them a network with a gate of its own.

arXiv:2407.10671. The weights of a token's experts do not sum to one unless the file says so.
"""

from dataclasses import replace

from llmc.frontend.arch import EXPERTS, shared_experts
from llmc.frontend.arch.qwen2 import QWEN2
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

KEYS = ExpertKeys(
    ("Qwen2MoeForCausalLM",),
    shared="shared_expert_intermediate_size",
    normalize="norm_topk_prob",
    step="decoder_sparse_step",
    dense="mlp_only_layers",
)
SHARED_ROUTER = {"ffn.shared_router": ("blk.{i}.ffn_gate_inp_shexp.weight", "model.layers.{i}.mlp.shared_expert_gate.weight")}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


def adapt(config: Config, keys: Keys) -> Config:
    """Older files do not say how wide the network beside the experts is: as wide as the feed-forward block."""
    e = config.experts
    return config if e is None or e.shared or not keys.gguf else replace(config, experts=replace(e, shared=config.intermediate))


QWEN2_MOE = replace(
    QWEN2,
    gguf="qwen2moe",
    hf=("Qwen2MoeForCausalLM",),
    papers="arXiv:2407.10671",
    block=block,
    experts={**EXPERTS, **shared_experts("shared_expert"), **SHARED_ROUTER},
    dialect=Dialect(experts=KEYS),
    adapt=adapt,
)
