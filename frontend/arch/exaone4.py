"""EXAONE 4: norms after attention and feed-forward, heads of q and k normalised; the large model has windows in a pattern.

Where there are windows, the layers without one do not rotate.  arXiv:2507.11407.
"""

from llmc.frontend.arch import POST_NORMS, QK_NORMS, Architecture, without
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, norm, residual, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 4


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    local = s.config.states_window and s.local(WINDOW_EVERY)
    mixed = attention(s, x, w, qk_norm=True, local=local, rotate=local or not s.config.states_window)
    x = residual(s, x, norm(s, mixed, w, "attn.post_norm"))
    return residual(s, x, norm(s, swiglu(s, x, w), w, "ffn.post_norm"))


EXAONE4 = Architecture(
    gguf="exaone4",
    papers="arXiv:2507.11407",
    weights={**without("attn.norm", "ffn.norm"), **QK_NORMS, **POST_NORMS},
    rope="half",
    block=block,
    hf=("Exaone4ForCausalLM",),
    dialect=Dialect(windows=True),
)
