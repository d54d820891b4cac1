"""MiniCPM 1 and 2: Granite's block, with factors that GGUF files state. Hugging Face files of it are code of the model's own.

arXiv:2404.06395.
"""

from dataclasses import replace

from llmc.frontend.arch.granite import GRANITE
from llmc.frontend.config import Config, Keys


def adapt(config: Config, keys: Keys) -> Config:
    """The factors must be stated: files from before 2025 leave them to the engine."""
    for key in ("embedding_scale", "residual_scale", "logit_scale"):
        keys.number(key, low=1e-6, high=1e6)
    return config


MINICPM = replace(GRANITE, gguf="minicpm", papers="arXiv:2404.06395", hf=(), adapt=adapt)
