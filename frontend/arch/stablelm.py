"""StableLM 2: the Llama block with layer norms, and a quarter of each head rotates.  arXiv:2402.17834.

The 12B model has attention and feed-forward side by side on one norm, and a layer norm for each head of q and k.
"""

from dataclasses import replace

from llmc.frontend.arch import ALWAYS, DECODER, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

PARALLEL = "use_parallel_residual"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    n = norm(s, x, w, "attn.norm")
    y = residual(s, x, attention(s, n, w, qk_norm=w.has("attn.q_norm")))
    return residual(s, y, swiglu(s, n if s.config.parallel else norm(s, y, w, "ffn.norm"), w))


def adapt(config: Config, keys: Keys) -> Config:
    """GGUF files of models with parallel blocks say so by having one norm."""
    if keys.gguf:
        parallel = "blk.0.ffn_norm.weight" not in keys.checkpoint.tensors
        return replace(config, parallel=keys.checkpoint.flag(keys.name(PARALLEL), parallel))
    return replace(config, parallel=keys.checkpoint.flag(PARALLEL, False))


STABLELM = Architecture(
    gguf="stablelm",
    papers="arXiv:2402.17834",
    weights={
        **DECODER,
        **biases("attn.norm", "attn.q", "attn.k", "attn.v", "ffn.norm"),
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_layernorm.norms.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_layernorm.norms.weight"),
    },
    rope="half",
    block=block,
    hf=("StableLmForCausalLM",),
    hf_biases={ALWAYS: ("attn.norm", "ffn.norm", "norm"), "use_qkv_bias": ("attn.q", "attn.k", "attn.v")},
    norm="layer_norm",
    model={"norm.bias": ("output_norm.bias", "model.norm.bias")},
    variant={"attn.q_norm": "qk_layernorm", "attn.k_norm": "qk_layernorm", "ffn.norm": ""},
    implied=lambda keys: {"partial_rotary_factor": 0.25},
    adapt=adapt,
)
