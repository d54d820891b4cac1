"""GPT-NeoX and Pythia: q, k, v in one matrix, biases throughout, attention and feed-forward side by side on norms of their own.

arXiv:2204.06745, arXiv:2304.01373. GGUF files do not say which GELU a model has: it is erf's, as in Pythia. The tanh
form of GPT-NeoX-20B differs from that by at most 5e-4.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.checkpoint import Tensor
from llmc.frontend.config import Config, Keys
from llmc.frontend.derived import Rewritten, grouped_qkv, rows_in_order
from llmc.frontend.dialect import GELUS, Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

LAYER = "gpt_neox.layers.{i}."
NAMES = {
    "attn.norm": ("blk.{i}.attn_norm.weight", f"{LAYER}input_layernorm.weight"),
    "attn.qkv": ("blk.{i}.attn_qkv.weight", f"{LAYER}attention.query_key_value.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", f"{LAYER}attention.dense.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", f"{LAYER}post_attention_layernorm.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}mlp.dense_h_to_4h.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}mlp.dense_4h_to_h.weight"),
}
MODEL = {
    "embedding": ("token_embd.weight", "gpt_neox.embed_in.weight"),
    "norm": ("output_norm.weight", "gpt_neox.final_layer_norm.weight"),
    "norm.bias": ("output_norm.bias", "gpt_neox.final_layer_norm.bias"),
    "head": ("output.weight", "embed_out.weight"),
}
PARALLEL = "use_parallel_residual"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    total = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w))
    n = norm(s, x if s.config.parallel else total, w, "ffn.norm")
    return residual(s, total, mlp(s, n, w, s.config.activation or "gelu_erf"))


def adapt(config: Config, keys: Keys) -> Config:
    name = keys.name(PARALLEL) if keys.gguf else PARALLEL
    return replace(config, parallel=keys.checkpoint.flag(name, True))


def implied(keys: Keys) -> Mapping[str, Any]:
    """Old files have other names for what rotates."""
    share = keys.checkpoint.number("rotary_pct", 0.25, low=0.0, high=1.0)
    base = keys.checkpoint.number("rotary_emb_base", 10000.0, low=1e-3, high=1e12)
    return {"partial_rotary_factor": share, "rope_theta": base, "attention_bias": True}


def heads_together(tensor: Tensor, config: Config) -> Rewritten:
    """Stored head by head, each with its query, key and value."""
    return rows_in_order(tensor, grouped_qkv(config.heads, 1, config.head_dim))


GPTNEOX = Architecture(
    gguf="gptneox",
    papers="arXiv:2204.06745, arXiv:2304.01373",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("GPTNeoXForCausalLM",),
    hf_biases={ALWAYS: ("attn.norm", "ffn.norm", "ffn.up", "ffn.down", "norm"), "attention_bias": ("attn.qkv", "attn.out")},
    dialect=Dialect(activations=GELUS),
    norm="layer_norm",
    model=MODEL,
    hf_stored=dict.fromkeys(("attn.qkv", "attn.qkv.bias"), heads_together),
    implied=implied,
    adapt=adapt,
)
