"""InternLM 2: the Llama block. Hugging Face files of it are code of the model's own.  arXiv:2403.17297."""

from dataclasses import replace

from llmc.frontend.arch.llama import LLAMA

INTERNLM2 = replace(LLAMA, gguf="internlm2", papers="arXiv:2403.17297", hf=(), experts={})
