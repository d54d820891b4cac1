"""GPT-2: learned positions, q, k, v in one matrix, layer norms and biases throughout, GELU without a gate.

Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
"""

from dataclasses import replace

from llmc.frontend.arch import Architecture, biases, without
from llmc.frontend.arch.starcoder2 import block
from llmc.frontend.config import Config, Keys


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates."""
    return replace(config, rope_dims=0)


GPT2 = Architecture(
    gguf="gpt2",
    papers="Radford et al. 2019",
    weights={
        **without("attn.q", "attn.k", "attn.v", "ffn.gate"),
        **biases("attn.norm", "attn.out", "ffn.norm", "ffn.up", "ffn.down"),
        "positions": "position_embd.weight",
        "attn.qkv": "blk.{i}.attn_qkv.weight",
        "attn.qkv.bias": "blk.{i}.attn_qkv.bias",
    },
    rope="half",
    block=block,
    norm="layer_norm",
    adapt=adapt,
)
