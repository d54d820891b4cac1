"""Writes synthetic GGUF models: shapes of real ones, random weights, a made-up vocabulary. Takes seconds, needs numpy.

    python -m benchmarks.make_model llama-1b q4_k_m OUT.gguf [--seed N]
    python -m benchmarks.make_model --list
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import vocabulary
from benchmarks.gguf_writer import Metadata, TensorInfo, write
from benchmarks.random_blocks import STORAGE, Pools, Storage

F32_TYPE = 0
KINDS = {"f16": 1, "q4_0": 2, "q8_0": 7, "q3_k": 12, "q4_k_m": 15, "iq4_xs": 30, "mxfp4": 38}  # general.file_type


@dataclass(frozen=True)
class Shape:
    """One model. `heads * head_dim` is the width of the queries, `rope_scaled` adds Llama 3's frequency divisors.

    experts > 0: every layer has that many feed-forward blocks of width `ffn`, a token passes through `used` of them.
    """

    arch: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    theta: float
    pre: str
    eps: float = 1e-5
    tied: bool = True
    bias: bool = False
    rope_scaled: bool = False
    control: int = 16
    experts: int = 0
    used: int = 0


SHAPES = {
    "tiny": Shape("llama", 4, 256, 8, 2, 32, 768, 4096, 4096, 10000.0, "llama-bpe"),
    "llama-1b": Shape("llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 500000.0, "llama-bpe", rope_scaled=True, control=256),
    "qwen-0.5b": Shape("qwen2", 24, 896, 14, 2, 64, 4864, 151936, 32768, 1000000.0, "qwen2", eps=1e-6, bias=True, control=293),
    "tiny-moe": Shape("llama", 3, 256, 8, 2, 32, 512, 4096, 4096, 10000.0, "llama-bpe", experts=8, used=3),
    "moe-1b": Shape("llama", 16, 2048, 32, 8, 64, 1024, 128256, 131072, 500000.0, "llama-bpe", control=256, experts=16, used=4),
    "llama-8b": Shape("llama", 32, 4096, 32, 8, 128, 14336, 128256, 8192, 500000.0, "llama-bpe", tied=False, control=256),
    "mistral-7b": Shape("llama", 32, 4096, 32, 8, 128, 14336, 32000, 32768, 10000.0, "llama-bpe", tied=False),
}


@dataclass(frozen=True)
class Tensor:
    """std None means all ones, "rope" the frequency divisors; vectors and routers are always f32."""

    name: str
    shape: tuple[int, ...]
    std: float | str | None

    @property
    def weights(self) -> int:
        return int(np.prod(self.shape))

    @property
    def is_f32(self) -> bool:
        return len(self.shape) == 1 or "ffn_gate_inp" in self.name


def tensors(s: Shape) -> Iterator[Tensor]:
    """Every tensor of a model, with GGUF's names. Outputs of a block are damped so that the residual stream stays small."""
    q, kv, deep = s.heads * s.head_dim, s.kv_heads * s.head_dim, (2 * s.layers) ** -0.5
    inner = s.hidden**-0.5
    yield Tensor("token_embd.weight", (s.vocab, s.hidden), inner)
    if s.rope_scaled:
        yield Tensor("rope_freqs.weight", (s.head_dim // 2,), "rope")
    for i in range(s.layers):
        block = f"blk.{i}."
        yield Tensor(block + "attn_norm.weight", (s.hidden,), None)
        for part, rows in (("q", q), ("k", kv), ("v", kv)):
            yield Tensor(f"{block}attn_{part}.weight", (rows, s.hidden), inner)
            if s.bias:
                yield Tensor(f"{block}attn_{part}.bias", (rows,), 0.02)
        yield Tensor(block + "attn_output.weight", (s.hidden, q), deep * q**-0.5)
        yield Tensor(block + "ffn_norm.weight", (s.hidden,), None)
        if s.experts:
            yield Tensor(block + "ffn_gate_inp.weight", (s.experts, s.hidden), inner)
        many, name = ((s.experts,), "_exps.weight") if s.experts else ((), ".weight")
        yield Tensor(block + "ffn_gate" + name, (*many, s.ffn, s.hidden), inner)
        yield Tensor(block + "ffn_up" + name, (*many, s.ffn, s.hidden), inner)
        yield Tensor(block + "ffn_down" + name, (*many, s.hidden, s.ffn), deep * s.ffn**-0.5)
    yield Tensor("output_norm.weight", (s.hidden,), None)
    if not s.tied:
        yield Tensor("output.weight", (s.vocab, s.hidden), inner)


def storage_of(s: Shape, t: Tensor, kind: str) -> Storage:
    """The format llama-quantize would give a matrix: the head better than the rest, and in q4_k_m half of v and down too."""
    if kind in ("f16", "q8_0"):
        return STORAGE[kind]
    head = t.name == "output.weight" or (s.tied and t.name == "token_embd.weight")
    if kind != "q4_k_m":
        return _fitting("q6_k" if head else kind, t)
    return _fitting("q6_k" if head or _more_bits(s, t) else "q4_k", t)


def _more_bits(s: Shape, t: Tensor) -> bool:
    if not t.name.endswith(("attn_v.weight", "ffn_down.weight", "ffn_down_exps.weight")):
        return False
    i, n = int(t.name.split(".")[1]), s.layers
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _fitting(name: str, t: Tensor) -> Storage:
    """K-quants need rows of whole super-blocks; others give way to what llama-quantize takes."""
    fits = t.shape[-1] % STORAGE[name].weights == 0
    return STORAGE[name] if fits else STORAGE[{"q3_k": "q4_0", "iq4_xs": "q4_0", "q4_k": "q5_0", "q6_k": "q8_0"}[name]]


def rope_divisors(s: Shape, factor: float = 32.0, low: float = 1.0, high: float = 4.0, original: int = 8192) -> bytes:
    """Llama 3.1's frequency scaling: one divisor per rotary frequency, f32. arXiv:2407.21783."""
    frequency = s.theta ** (-np.arange(0, s.head_dim, 2) / s.head_dim)
    smooth = np.clip((original * frequency / (2 * np.pi) - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32).tobytes()


def metadata(name: str, s: Shape, kind: str) -> Metadata:
    """Every key a reader asks for."""
    words = vocabulary.make(s.vocab, s.control)
    hyper = {
        "context_length": s.context, "embedding_length": s.hidden, "block_count": s.layers, "feed_forward_length": s.ffn,
        "attention.head_count": s.heads, "attention.head_count_kv": s.kv_heads, "attention.layer_norm_rms_epsilon": s.eps,
        "rope.freq_base": s.theta, "rope.dimension_count": s.head_dim, "vocab_size": s.vocab,
    }  # fmt: skip
    hyper |= {"expert_count": s.experts, "expert_used_count": s.used} if s.experts else {}
    general: Metadata = {
        "general.architecture": s.arch, "general.name": f"synthetic {name}", "general.file_type": KINDS[kind],
        "general.quantization_version": 2,
    }  # fmt: skip
    tokenizer: Metadata = {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": s.pre, "tokenizer.ggml.tokens": words.tokens,
        "tokenizer.ggml.token_type": words.types, "tokenizer.ggml.merges": words.merges,
        "tokenizer.ggml.bos_token_id": words.bos, "tokenizer.ggml.eos_token_id": words.eos,
        "tokenizer.ggml.add_bos_token": s.arch == "llama",
    }  # fmt: skip
    return general | {f"{s.arch}.{key}": value for key, value in hyper.items()} | tokenizer


def make(name: str, kind: str, out: Path, seed: int = 1) -> None:
    """Writes SHAPES[name] in one of KINDS."""
    s, pools = SHAPES[name], Pools(seed)
    plan = [*tensors(s)]

    def info(t: Tensor) -> TensorInfo:
        if t.is_f32:
            return TensorInfo(t.name, t.shape, F32_TYPE, 4 * t.weights)
        storage = storage_of(s, t, kind)
        return TensorInfo(t.name, t.shape, storage.ggml_type, math.prod(t.shape[:-1]) * storage.row_bytes(t.shape[-1]))

    def data(t: Tensor) -> Iterator[memoryview | bytes]:
        if t.std == "rope":
            return iter([rope_divisors(s)])
        if isinstance(t.std, float) and not t.is_f32:
            return pools.tensor(t.name, storage_of(s, t, kind), t.weights, t.std)
        values = np.ones(t.weights) if t.std is None else np.random.default_rng(seed).normal(0, float(t.std), t.weights)
        return iter([values.astype(np.float32).tobytes()])

    with out.open("wb") as file:
        write(file, metadata(name, s, kind), [info(t) for t in plan], (data(t) for t in plan))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=[*SHAPES])
    parser.add_argument("kind", nargs="?", choices=[*KINDS])
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name:<12} {sum(t.weights for t in tensors(s)) / 1e6:8.1f} M weights" for name, s in SHAPES.items()))
    elif not arguments.out:
        parser.error("NAME, KIND and OUT are needed")
    else:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        make(arguments.name, arguments.kind, arguments.out, arguments.seed)
        print(f"{arguments.out}: {arguments.out.stat().st_size / 1e9:.3f} GB")


if __name__ == "__main__":
    main()
