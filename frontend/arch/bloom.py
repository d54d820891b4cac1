"""BLOOM: ALiBi, a layer norm after the embedding, q, k, v of each head together, GELU without a gate.  arXiv:2211.05100."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.errors import UnsupportedModelError
from llmc.frontend.alibi import slopes
from llmc.frontend.arch import ALWAYS, Architecture, biases
from llmc.frontend.arch.gptneox import heads_together
from llmc.frontend.arch.starcoder2 import block
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import GELU_TANH, Dialect

LAYER = "transformer.h.{i}."
NAMES = {
    "attn.norm": ("blk.{i}.attn_norm.weight", f"{LAYER}input_layernorm.weight"),
    "attn.qkv": ("blk.{i}.attn_qkv.weight", f"{LAYER}self_attention.query_key_value.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", f"{LAYER}self_attention.dense.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", f"{LAYER}post_attention_layernorm.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{LAYER}mlp.dense_h_to_4h.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{LAYER}mlp.dense_4h_to_h.weight"),
}
MODEL = {
    "embedding": ("token_embd.weight", "transformer.word_embeddings.weight"),
    "embedding.norm": ("token_embd_norm.weight", "transformer.word_embeddings_layernorm.weight"),
    "embedding.norm.bias": ("token_embd_norm.bias", "transformer.word_embeddings_layernorm.bias"),
    "norm": ("output_norm.weight", "transformer.ln_f.weight"),
    "norm.bias": ("output_norm.bias", "transformer.ln_f.bias"),
}
CONTEXT = 2048  # trained on, and in no key of some files
POST = "apply_residual_connection_post_layernorm"


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates."""
    if not keys.gguf and keys.checkpoint.flag(POST, False):
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: {POST} is true, which llmc cannot compile")
    return replace(config, rope_dims=0, slopes=slopes(config.heads))


def implied(keys: Keys) -> Mapping[str, Any]:
    """The feed-forward is four times as wide as the rest."""
    return {"intermediate_size": 4 * keys.integer("hidden"), "max_position_embeddings": CONTEXT}


BLOOM = Architecture(
    gguf="bloom",
    papers="arXiv:2211.05100",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("BloomForCausalLM",),
    hf_biases={ALWAYS: (*NAMES, "embedding.norm", "norm")},
    dialect=Dialect(activations=GELU_TANH, tied=True),
    norm="layer_norm",
    model=MODEL,
    hf_prefix="transformer.",
    hf_stored=dict.fromkeys(("attn.qkv", "attn.qkv.bias"), heads_together),
    implied=implied,
    adapt=adapt,
)
