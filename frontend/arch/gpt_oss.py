"""gpt-oss: sinks in attention, a window in every second layer, biases everywhere, experts with a clamped SwiGLU.

arXiv:2508.10925.
"""

from llmc.frontend.arch import ATTENTION, DECODER, EXPERTS, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.layers import Step, attention, experts, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 2


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, local=s.local(WINDOW_EVERY)))
    return residual(s, x, experts(s, norm(s, x, w, "ffn.norm"), w, normalize=True, clamped=True))


def adapt(config: Config, keys: Keys) -> Config:
    """The window must be stated."""
    keys.integer("window")
    return config


GPT_OSS = Architecture(
    gguf="gpt-oss",
    papers="arXiv:2508.10925",
    weights={
        **DECODER,
        **biases(*ATTENTION),
        "attn.sinks": "blk.{i}.attn_sinks.weight",
        "ffn.norm": "blk.{i}.post_attention_norm.weight",
    },
    rope="half",
    block=block,
    experts={
        **EXPERTS,
        "ffn.router.bias": "blk.{i}.ffn_gate_inp.bias",
        "ffn.gate_experts.bias": "blk.{i}.ffn_gate_exps.bias",
        "ffn.up_experts.bias": "blk.{i}.ffn_up_exps.bias",
        "ffn.down_experts.bias": "blk.{i}.ffn_down_exps.bias",
    },
    adapt=adapt,
)
