"""Writes synthetic Hugging Face directories of Llama shapes: GPTQ or AWQ linears of 4 bits in groups of 128, f16 embedding.

    python -m benchmarks.make_directory llama-1b gptq OUT [--seed N]

GPTQ is symmetric, so that no zero points are stored; AWQ has zero points. Takes seconds, needs numpy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import vocabulary
from benchmarks.make_model import SHAPES, Shape

METHODS = ("gptq", "awq")
GROUP = 128
CODES_STD = 4.61  # of uniform codes of 4 bits
MIDDLE_LESS_ONE = 0x77777777  # how GPTQ's first format stores zero points of 8
Array = NDArray[Any]


def linears(s: Shape) -> Iterator[tuple[str, int, int]]:
    """(name, rows, columns) of every linear."""
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    for i in range(s.layers):
        for part, rows in (("q_proj", q), ("k_proj", kv), ("v_proj", kv)):
            yield f"model.layers.{i}.self_attn.{part}", rows, s.hidden
        yield f"model.layers.{i}.self_attn.o_proj", s.hidden, q
        for part in ("gate_proj", "up_proj"):
            yield f"model.layers.{i}.mlp.{part}", s.ffn, s.hidden
        yield f"model.layers.{i}.mlp.down_proj", s.hidden, s.ffn


def linear(method: str, n: int, k: int, rng: np.random.Generator) -> dict[str, Array]:
    """The parts of a weight [n, k] of about the standard deviation 1/sqrt(k)."""
    scales = (rng.uniform(0.9, 1.1, (k // GROUP, n)) * k**-0.5 / CODES_STD).astype(np.float16)
    shape = (k // 8, n) if method == "gptq" else (k, n // 8)
    zeros = np.full((k // GROUP, n // 8), MIDDLE_LESS_ONE, np.int32)
    if method == "awq":
        zeros = (rng.integers(6, 10, (k // GROUP, n // 2), np.uint8) * np.uint8(17)).view(np.int32)
    return {"qweight": rng.integers(0, 256, (*shape, 4), np.uint8).view(np.int32)[..., 0], "qzeros": zeros, "scales": scales}


def config(s: Shape, method: str) -> dict[str, Any]:
    quantization = {"quant_method": method, "bits": 4, "group_size": GROUP}
    quantization |= {"version": "gemm", "zero_point": True} if method == "awq" else {"desc_act": False, "sym": True}
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": s.hidden, "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim, "intermediate_size": s.ffn,
        "vocab_size": s.vocab, "max_position_embeddings": s.context, "rope_theta": s.theta, "rms_norm_eps": s.eps,
        "tie_word_embeddings": s.tied, "hidden_act": "silu", "quantization_config": quantization,
    }  # fmt: skip


def tokenizer(s: Shape) -> dict[str, Any]:
    """tokenizer.json: byte-level BPE of a made-up vocabulary."""
    words = vocabulary.make(s.vocab, s.control)
    first = len(words.tokens) - s.control
    added = [{"id": i, "content": words.tokens[i], "special": True, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False} for i in range(first, len(words.tokens))]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": {t: i for i, t in enumerate(words.tokens[:first])}, "merges": words.merges}
    return {"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
            "decoder": {"type": "ByteLevel"}, "model": model}  # fmt: skip


def tensors(s: Shape, method: str, seed: int) -> Iterator[tuple[str, Array]]:
    """Every tensor, one in memory at a time; the same seed gives the same numbers."""
    rng = np.random.default_rng(seed)
    yield "model.embed_tokens.weight", (rng.standard_normal((s.vocab, s.hidden), np.float32) * s.hidden**-0.5).astype(np.float16)
    yield "model.norm.weight", np.ones(s.hidden, np.float16)
    for i in range(s.layers):
        for part in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{i}.{part}.weight", np.ones(s.hidden, np.float16)
    for name, n, k in linears(s):
        for part, tensor in linear(method, n, k, rng).items():
            yield f"{name}.{part}", tensor


def make(name: str, method: str, out: Path, seed: int = 1) -> None:
    s = SHAPES[name]
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config(s, method), indent=1))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(s)))
    entries: dict[str, Any] = {}
    at = 0
    for key, t in tensors(s, method, seed):  # made twice: the header stands first
        dtype = {"float16": "F16", "int32": "I32"}[t.dtype.name]
        entries[key] = {"dtype": dtype, "shape": [*t.shape], "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    header = json.dumps(entries).encode()
    with (out / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _, t in tensors(s, method, seed):
            file.write(np.ascontiguousarray(t).data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[n for n, s in SHAPES.items() if s.arch == "llama" and not s.experts])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    make(o.name, o.method, o.out, o.seed)


if __name__ == "__main__":
    main()
