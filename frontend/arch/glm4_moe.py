"""GLM 4.5 and 4.6: the Llama block with experts chosen by sigmoids and a bias, beside a network of all tokens.

arXiv:2508.06471. Half of each head rotates. Larger models normalise heads of q and k. Layers that predict further tokens are left
out.
"""

from llmc.frontend.arch import CHOICE_BIAS, DECODER, EXPERTS, Architecture, biases, shared_experts
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

QKV = ("attn.q", "attn.k", "attn.v")


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, norm(s, x, w, "attn.norm"), w, qk_norm=w.has("attn.q_norm")))
    return residual(s, x, feed_forward(s, norm(s, x, w, "ffn.norm"), w, gate="sigmoid"))


GLM4_MOE = Architecture(
    gguf="glm4moe",
    papers="arXiv:2508.06471",
    weights={
        **DECODER,
        **biases(*QKV),
        "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
        "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
        "ffn.norm": ("blk.{i}.post_attention_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    },
    rope="half",
    block=block,
    hf=("Glm4MoeForCausalLM",),
    hf_biases={"attention_bias": QKV},
    dialect=Dialect(
        experts=ExpertKeys(
            ("Glm4MoeForCausalLM",),
            shared_count="n_shared_experts",
            normalize="norm_topk_prob",
            scale="routed_scaling_factor",
            groups=("n_group", "topk_group"),
            leading="first_k_dense_replace",
        )
    ),
    experts={**EXPERTS, **CHOICE_BIAS, **shared_experts("shared_experts")},
    optional=tuple(CHOICE_BIAS),
    variant={"attn.q_norm": "use_qk_norm", "attn.k_norm": "use_qk_norm"},
    implied=lambda keys: {"partial_rotary_factor": 0.5},
)
