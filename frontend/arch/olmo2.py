"""OLMo 2 and 3: norms after attention and feed-forward instead of before, and over all heads of q and of k.

OLMo 3 has windows, three layers of four, which rotate without the scaling of the others.  arXiv:2501.00656, arXiv:2512.13961.
"""

from dataclasses import replace

from llmc.frontend.arch import ATTENTION, POST_NORMS, QK_NORMS, Architecture, biases, without
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 4


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    local = s.config.states_window and s.local(WINDOW_EVERY)
    x = residual(s, x, norm(s, attention(s, x, w, row_norm=True, local=local), w, "attn.post_norm"))
    return residual(s, x, norm(s, swiglu(s, x, w), w, "ffn.post_norm"))


def adapt(config: Config, keys: Keys) -> Config:
    """Layers with a window rotate at the positions as they are, by the base of all if they have none of their own."""
    return replace(config, local_rope_base=config.local_rope_base or config.rope_base)


OLMO2 = Architecture(
    gguf="olmo2",
    papers="arXiv:2501.00656, arXiv:2512.13961",
    weights={**without("attn.norm", "ffn.norm"), **QK_NORMS, **POST_NORMS, **biases(*ATTENTION)},
    rope="half",
    block=block,
    hf=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
    hf_biases={"attention_bias": ATTENTION},
    dialect=Dialect(windows=True, local_rope=True),
    adapt=adapt,
)
