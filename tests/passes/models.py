"""Small decoders as the frontend builds them, from checkpoints that exist only as names, shapes and random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmc.frontend import arch
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.load import build
from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph
from llmc.ir.types import DType, TensorType
from tests.ir.sample import Weights, raw_weight


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, in elements."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int = 80

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of a layer's matrices."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "attn_q": (q, self.hidden), "attn_k": (kv, self.hidden), "attn_v": (kv, self.hidden), "attn_output": (self.hidden, q),
            "ffn_gate": (self.intermediate, self.hidden), "ffn_up": (self.intermediate, self.hidden),
            "ffn_down": (self.hidden, self.intermediate),
        }  # fmt: skip


TINY = Shape(hidden=64, intermediate=96, heads=4, kv_heads=2, head_dim=16)


class RandomCheckpoint(Checkpoint):
    """A checkpoint whose tensors hold random weights made when they are asked for."""

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        tensor = self.tensors[name]
        return raw_weight(TensorType(tensor.format, tensor.shape), name)


@dataclass(frozen=True)
class Decoder:
    graph: Graph
    weights: Weights


def decoder(
    family: str = "llama",
    layers: int = 2,
    *,
    shape: Shape = TINY,
    formats: Mapping[str, str] | None = None,
    biased: tuple[str, ...] = (),
    tied: bool = False,
    rope_factors: bool = False,
    **keys: float,
) -> Decoder:
    """A decoder of a family. `formats` by matrix name ("attn_v": "q8_0"), q4_0 otherwise; `keys` join the family's own."""
    sizes: dict[str, tuple[int, ...]] = {"token_embd.weight": (shape.vocab, shape.hidden), "output_norm.weight": (shape.hidden,)}
    sizes |= {} if tied else {"output.weight": (shape.vocab, shape.hidden)}
    sizes |= {"rope_freqs.weight": (shape.head_dim // 2,)} if rope_factors else {}
    for i in range(layers):
        sizes |= {f"blk.{i}.{name}.weight": size for name, size in shape.matrices().items()}
        sizes |= {f"blk.{i}.{name}.weight": (shape.hidden,) for name in ("attn_norm", "ffn_norm")}
        sizes |= {f"blk.{i}.{name}.bias": shape.matrices()[name][:1] for name in biased}
        sizes |= {f"blk.{i}.{name}.weight": (shape.head_dim,) for name in ("attn_q_norm", "attn_k_norm") if family == "qwen3"}
    types = {name: TensorType(FORMATS[_format(name, size, formats or {})], size) for name, size in sizes.items()}
    all_keys = {**_keys(family, layers, shape), **{f"{family}.{key}": value for key, value in keys.items()}}
    tensors = {name: _tensor(name, type) for name, type in types.items()}
    checkpoint = RandomCheckpoint([Path("random.gguf")], [], all_keys, tensors)
    architecture = arch.find()[family]
    graph = build(checkpoint, architecture, architecture.config(checkpoint), shape.vocab)
    return Decoder(graph, Weights(types))


def _tensor(name: str, type: TensorType) -> Tensor:
    assert not isinstance(type.dtype, DType)
    return Tensor(name, type.dtype, tuple(int(d) for d in type.shape), 0, 0, 0)


def _format(name: str, shape: tuple[int, ...], formats: Mapping[str, str]) -> str:
    return "f32" if len(shape) == 1 else formats.get(name.removesuffix(".weight").split(".")[-1], "q4_0")


def _keys(family: str, layers: int, shape: Shape) -> dict[str, int | float | str]:
    numbers = {
        "embedding_length": shape.hidden, "feed_forward_length": shape.intermediate, "block_count": layers, "context_length": 256,
        "attention.head_count": shape.heads, "attention.head_count_kv": shape.kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5, "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim, "rope.dimension_count": shape.head_dim,
    }  # fmt: skip
    return {"general.architecture": family, **{f"{family}.{key}": value for key, value in numbers.items()}}
