"""OLMoE: norms over all heads of q and of k, and experts whose weights are the softmax as it is.  arXiv:2409.02060."""

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import DECODER, EXPERTS, Architecture
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, experts, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, row_norm=True))
    return residual(s, x, experts(s, norm(s, x, w, "ffn.norm"), w, normalize=False))


def adapt(config: Config, keys: Keys) -> Config:
    """Refuses a directory whose queries, keys and values are clamped; no released model's are."""
    if not keys.gguf and keys.checkpoint.number("clip_qkv", None) is not None:
        found = f"{keys.checkpoint.key_file}: clip_qkv is {keys.checkpoint.keys['clip_qkv']}"
        raise UnsupportedModelError(f"{found}; llmc compiles olmoe without it")
    return config


OLMOE = Architecture(
    gguf="olmoe",
    papers="arXiv:2409.02060",
    weights={
        **DECODER,
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
    },
    rope="half",
    block=block,
    hf=("OlmoeForCausalLM",),
    dialect=Dialect(
        experts=ExpertKeys(("OlmoeForCausalLM",), intermediate="intermediate_size", normalize="norm_topk_prob"),
    ),
    experts=EXPERTS,
    adapt=adapt,
)
