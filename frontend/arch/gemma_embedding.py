"""EmbeddingGemma: Gemma 3 as an encoder. Windows reach as far to both sides together; dense layers follow the mean.

arXiv:2509.20354.
"""

from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import Architecture
from llmc.frontend.arch.gemma3 import GEMMA3, WINDOW_EVERY
from llmc.frontend.arch.gemma3 import adapt as adapt_gemma3
from llmc.frontend.config import Config, Keys
from llmc.frontend.encoder import attention_both
from llmc.frontend.layers import Step, geglu, norm, residual
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

FLAG = "use_bidirectional_attention"


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    local = s.local(WINDOW_EVERY)
    table = s.local_rope_table if local else s.rope_table
    reach = s.config.window // 2 if local else 0
    mixed = attention_both(s, norm(s, x, w, "attn.norm"), w, reach=reach, qk_norm=True, table=table)
    x = residual(s, x, norm(s, mixed, w, "attn.post_norm"))
    return residual(s, x, norm(s, geglu(s, norm(s, x, w, "ffn.norm"), w), w, "ffn.post_norm"))


def adapt(config: Config, keys: Keys) -> Config:
    """As Gemma 3 has it, and to both sides."""
    if not keys.gguf and not keys.checkpoint.flag(FLAG, False):
        what = f"{keys.checkpoint.key_file}: {FLAG} is not set"
        raise UnsupportedModelError(f"{what}; llmc compiles {keys.checkpoint.architecture} as an encoder")
    return adapt_gemma3(config, keys)


GEMMA_EMBEDDING = Architecture(
    gguf="gemma-embedding",
    papers="arXiv:2509.20354",
    weights=GEMMA3.weights,
    rope="half",
    block=block,
    hf=("Gemma3TextModel",),
    hf_prefix="model.",
    dialect=replace(GEMMA3.dialect, bidirectional=True),
    model={"head": ""},
    encoder=True,
    adapt=adapt,
)
