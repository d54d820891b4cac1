"""Seed-OSS: the Llama block with biases on q, k and v.

https://huggingface.co/docs/transformers/model_doc/seed_oss
"""

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.arch.llama import block

SEED_OSS = Architecture(
    gguf="seed_oss",
    papers="transformers documentation, model_doc/seed_oss",
    weights={
        **DECODER,
        **biases(*ATTENTION, *FEED_FORWARD),
        "ffn.norm": ("blk.{i}.post_attention_norm.weight", DECODER["ffn.norm"][1]),
    },
    rope="half",
    block=block,
    hf=("SeedOssForCausalLM",),
    hf_biases={"attention_bias": ("attn.q", "attn.k", "attn.v"), "attention_out_bias": ("attn.out",), "mlp_bias": FEED_FORWARD},
)
