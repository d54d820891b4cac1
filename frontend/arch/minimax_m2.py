"""MiniMax M2: norms over all heads of q and of k, heads that rotate in part, experts chosen by sigmoids and a bias.

https://huggingface.co/docs/transformers/model_doc/minimax_m2
"""

from typing import Any

from llmc.frontend.arch import CHOICE_BIAS, DECODER, Architecture
from llmc.frontend.arch.llama import MIXTRAL_EXPERTS
from llmc.frontend.config import Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

CLASS = "MiniMaxM2ForCausalLM"
DENSE = {name: tensor for name, tensor in DECODER.items() if not name.startswith(("ffn.gate", "ffn.up", "ffn.down"))}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, row_norm=True))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, gate="sigmoid"))


def implied(keys: Keys) -> dict[str, Any]:
    """Files say how many features of a head rotate, not which share."""
    rotating, head_dim = (keys.checkpoint.integer(name, 1, 4096, None) for name in ("rotary_dim", "head_dim"))
    share = {"partial_rotary_factor": rotating / head_dim} if rotating and head_dim and rotating <= head_dim else {}
    return {"rope_theta": 5e6, **share}


MINIMAX_M2 = Architecture(
    gguf="minimax-m2",
    papers="transformers documentation, model_doc/minimax_m2",
    weights={
        **DENSE,
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
    },
    rope="half",
    block=block,
    hf=(CLASS,),
    dialect=Dialect(experts=ExpertKeys((CLASS,), intermediate="intermediate_size")),
    experts={
        **MIXTRAL_EXPERTS,
        "ffn.choice_bias": (
            CHOICE_BIAS["ffn.choice_bias"][0], "model.layers.{i}.block_sparse_moe.e_score_correction_bias"
        ),
    },
    optional=tuple(CHOICE_BIAS),
    implied=implied,
)  # fmt: skip
