"""StarCoder and SantaCoder: GPT-2's block with one key and value for all heads.  arXiv:2305.06161, arXiv:2301.03988."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch.falcon import groups_together
from llmc.frontend.arch.gpt2 import GPT2
from llmc.frontend.config import Keys

MULTI_QUERY = "multi_query"


def implied(keys: Keys) -> Mapping[str, Any]:
    """The feed-forward is four times as wide as the rest."""
    shared = keys.checkpoint.flag(MULTI_QUERY, True)
    return {"n_inner": 4 * keys.integer("hidden"), "num_key_value_heads": 1 if shared else keys.integer("heads")}


STARCODER = replace(
    GPT2,
    gguf="starcoder",
    papers="arXiv:2305.06161, arXiv:2301.03988",
    hf=("GPTBigCodeForCausalLM",),
    hf_stored=dict.fromkeys(("attn.qkv", "attn.qkv.bias"), groups_together),
    implied=implied,
)
