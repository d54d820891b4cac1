"""Llama 1 to 3, Mistral and what is shaped like them: pre-norm, grouped-query attention, rotary positions, SwiGLU.

Mixtral is the same with experts in the place of the feed-forward block.
arXiv:2302.13971, arXiv:2307.09288, arXiv:2407.21783, arXiv:2310.06825, arXiv:2401.04088.
"""

from llmc.frontend.arch import ATTENTION, DECODER, EXPERTS, FEED_FORWARD, Architecture, biases
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, feed_forward, residual, rms_norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value


def block(s: Step, x: Value, w: Weights, *, local: bool = False) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    x = residual(s, x, attention(s, rms_norm(s, x, w.vector("attn.norm", s.config.hidden)), w, local=local))
    return residual(s, x, feed_forward(s, rms_norm(s, x, w.vector("ffn.norm", s.config.hidden)), w))


def windowed_block(s: Step, x: Value, w: Weights) -> Value:
    """The same with the config's window, if it has one, in every layer, as the first Mistral has it."""
    return block(s, x, w, local=True)


MIXTRAL_EXPERTS = {
    name: (EXPERTS[name][0], f"model.layers.{{i}}.block_sparse_moe.{theirs}.weight")
    for name, theirs in {
        "ffn.router": "gate", "ffn.gate_experts": "experts.w1", "ffn.up_experts": "experts.w3", "ffn.down_experts": "experts.w2",
    }.items()
}  # fmt: skip

LLAMA = Architecture(
    gguf="llama",
    papers="arXiv:2302.13971, arXiv:2307.09288, arXiv:2407.21783, arXiv:2310.06825, arXiv:2401.04088",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",  # GGUF permutes the rows of q and k
    block=windowed_block,
    hf=("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
    hf_biases={"attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
    dialect=Dialect(experts=ExpertKeys(("MixtralForCausalLM",), intermediate="intermediate_size")),
    experts=MIXTRAL_EXPERTS,
)
