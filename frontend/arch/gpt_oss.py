"""gpt-oss: sinks in attention, a window in every second layer, biases everywhere, experts with a clamped SwiGLU.

arXiv:2508.10925. Directories keep gates and ups of the experts in one tensor, row by row in turn, in MXFP4 or dense and
transposed.
"""

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import ALWAYS, ATTENTION, DECODER, EXPERTS, Architecture, biases
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, experts, norm, residual
from llmc.frontend.views import fused_experts, halves, vectors
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 2
CLAMP = {"swiglu_limit": 7.0, "swiglu_alpha": 1.702}  # the only ones the kernel knows
MODULE = "model.layers.{i}.mlp.experts"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, local=s.local(WINDOW_EVERY)))
    return residual(s, x, experts(s, norm(s, x, w, "ffn.norm"), w, normalize=True, clamped=True))


def adapt(config: Config, keys: Keys) -> Config:
    """The window must be stated, and the clamp be the one of the released models."""
    keys.integer("window")
    for name, value in {} if keys.gguf else CLAMP.items():
        if keys.checkpoint.number(name, value) != value:
            found = f"{keys.checkpoint.key_file}: {name} is {keys.checkpoint.keys[name]}"
            raise UnsupportedModelError(f"{found}; llmc can compile {value}")
    return config


def views(checkpoint: Checkpoint, config: Config) -> dict[str, Derived]:
    """Gates, ups and downs of a directory as tensors of their own, and their biases."""
    shown: dict[str, Derived] = {**fused_experts(checkpoint.tensors, MODULE, config.layers, transposed=True, interleaved=True)}
    for name in (MODULE.format(i=i) for i in range(config.layers)):
        bias = checkpoint.tensors.get(f"{name}.gate_up_proj_bias")
        for part, rows in zip(("gate_proj", "up_proj"), halves(0, True), strict=True):
            if bias is not None:
                shown[f"{name}.{part}.bias"] = vectors(bias, f"{name}.{part}.bias", rows)
    return shown


GPT_OSS = Architecture(
    gguf="gpt-oss",
    papers="arXiv:2508.10925",
    weights={
        **DECODER,
        **biases(*ATTENTION),
        "attn.sinks": ("blk.{i}.attn_sinks.weight", "model.layers.{i}.self_attn.sinks"),
        "ffn.norm": ("blk.{i}.post_attention_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    },
    rope="half",
    block=block,
    hf=("GptOssForCausalLM",),
    hf_biases={
        "attention_bias": ATTENTION,
        ALWAYS: ("ffn.router", "ffn.gate_experts", "ffn.up_experts", "ffn.down_experts"),
    },
    dialect=Dialect(
        windows=True,
        experts=ExpertKeys(("GptOssForCausalLM",), intermediate="intermediate_size"),
    ),
    experts={
        **EXPERTS,
        "ffn.router": ("blk.{i}.ffn_gate_inp.weight", "model.layers.{i}.mlp.router.weight"),
        "ffn.router.bias": ("blk.{i}.ffn_gate_inp.bias", "model.layers.{i}.mlp.router.bias"),
        "ffn.gate_experts.bias": ("blk.{i}.ffn_gate_exps.bias", f"{MODULE}.gate_proj.bias"),
        "ffn.up_experts.bias": ("blk.{i}.ffn_up_exps.bias", f"{MODULE}.up_proj.bias"),
        "ffn.down_experts.bias": ("blk.{i}.ffn_down_exps.bias", f"{MODULE}.down_proj_bias"),
    },
    views=views,
    adapt=adapt,
)
