"""Qwen 3 with experts in the place of the feed-forward block.  arXiv:2505.09388."""

from dataclasses import replace

from llmc.frontend.arch import EXPERTS
from llmc.frontend.arch.qwen3 import QWEN3

QWEN3_MOE = replace(QWEN3, gguf="qwen3moe", hf=(), experts=EXPERTS)
