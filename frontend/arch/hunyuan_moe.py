"""Hunyuan A13B: Hunyuan's block with experts beside a network of all tokens, as wide as one of them.  arXiv:2411.02265."""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import EXPERTS, shared_experts
from llmc.frontend.arch.hunyuan_dense import HUNYUAN_DENSE
from llmc.frontend.arch.hunyuan_dense import adapt as adapt_rotation
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

CLASS = "HunYuanMoEV1ForCausalLM"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, norm_last=True))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """Directories do not say that there is a network of all tokens; models with several of them need other code."""
    config, e = adapt_rotation(config, keys), config.experts
    if keys.gguf or e is None:
        return config
    shared = keys.checkpoint.integers("num_shared_expert", 1, 1 << 14, (1,))
    if set(shared) != {1}:
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: num_shared_expert is {shared[0]}; llmc compiles 1")
    return replace(config, experts=replace(e, shared=e.intermediate))


HUNYUAN_MOE = replace(
    HUNYUAN_DENSE,
    gguf="hunyuan-moe",
    papers="arXiv:2411.02265",
    block=block,
    hf=(CLASS,),
    dialect=Dialect(experts=ExpertKeys((CLASS,), used="moe_topk", intermediate="intermediate_size")),
    experts={
        **EXPERTS,
        "ffn.router": (EXPERTS["ffn.router"][0], "model.layers.{i}.mlp.gate.wg.weight"),
        **shared_experts("shared_mlp"),
    },
    adapt=adapt,
)
