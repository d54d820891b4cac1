"""SmolLM3: the Llama block; every fourth layer has no positions (NoPE).  arXiv:2501.18795 describes the mix."""

from dataclasses import replace

from llmc.frontend.arch import ATTENTION, DECODER, FEED_FORWARD, Architecture, biases
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, residual, rms_norm, swiglu
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

NO_POSITIONS_EVERY = 4


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    stated = s.config.rotating
    rotate = (s.layer + 1) % NO_POSITIONS_EVERY != 0 if stated is None else stated[s.layer]
    x = residual(s, x, attention(s, rms_norm(s, x, w.vector("attn.norm", s.config.hidden)), w, rotate=rotate))
    return residual(s, x, swiglu(s, rms_norm(s, x, w.vector("ffn.norm", s.config.hidden)), w))


def adapt(config: Config, keys: Keys) -> Config:
    return config if keys.gguf else replace(config, rotating=rotating_layers(keys, config.layers))


def rotating_layers(keys: Keys, layers: int) -> tuple[bool, ...] | None:
    """config.json may have a 1 for each layer that rotates, and a 0 for each other."""
    rotating = keys.checkpoint.integers("no_rope_layers", 0, 1, ())
    if not rotating:
        return None
    if len(rotating) != layers:
        raise keys.checkpoint.wrong("no_rope_layers", f"has {len(rotating)} elements, expected {layers}")
    return tuple(map(bool, rotating))


SMOLLM3 = Architecture(
    gguf="smollm3",
    papers="arXiv:2501.18795",
    weights={**DECODER, **biases(*ATTENTION, *FEED_FORWARD)},
    rope="interleaved",
    block=block,
    hf=("SmolLM3ForCausalLM",),
    hf_biases={"attention_bias": ATTENTION, "mlp_bias": FEED_FORWARD},
    dialect=Dialect(tied=True),
    adapt=adapt,
)
