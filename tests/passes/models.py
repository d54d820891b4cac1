"""Small decoders as the frontend builds them, from checkpoints that exist only as names, shapes and random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmc.frontend import arch
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.config import read_config
from llmc.frontend.load import build
from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph
from llmc.ir.types import DType, TensorType
from tests.ir.sample import Weights, raw_weight

HIDDEN, INTERMEDIATE, VOCAB, HEADS, KV_HEADS, HEAD_DIM = 64, 96, 80, 4, 2, 16

MATRICES = {
    "attn_q": (HEADS * HEAD_DIM, HIDDEN), "attn_k": (KV_HEADS * HEAD_DIM, HIDDEN), "attn_v": (KV_HEADS * HEAD_DIM, HIDDEN),
    "attn_output": (HIDDEN, HEADS * HEAD_DIM), "ffn_gate": (INTERMEDIATE, HIDDEN), "ffn_up": (INTERMEDIATE, HIDDEN),
    "ffn_down": (HIDDEN, INTERMEDIATE),
}  # fmt: skip


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
    formats: Mapping[str, str] | None = None,
    biased: tuple[str, ...] = (),
    tied: bool = False,
    rope_factors: bool = False,
    **keys: float,
) -> Decoder:
    """A decoder of a family. `formats` by matrix name ("attn_v": "q8_0"), q4_0 otherwise; `keys` join the family's own."""
    shapes = {"token_embd.weight": (VOCAB, HIDDEN), "output_norm.weight": (HIDDEN,)}
    shapes |= {} if tied else {"output.weight": (VOCAB, HIDDEN)}
    shapes |= {"rope_freqs.weight": (HEAD_DIM // 2,)} if rope_factors else {}
    for i in range(layers):
        shapes |= {f"blk.{i}.{name}.weight": shape for name, shape in MATRICES.items()}
        shapes |= {f"blk.{i}.{name}.weight": (HIDDEN,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{i}.{name}.bias": MATRICES[name][:1] for name in biased}
        shapes |= {f"blk.{i}.{name}.weight": (HEAD_DIM,) for name in ("attn_q_norm", "attn_k_norm") if family == "qwen3"}
    types = {name: TensorType(FORMATS[_format(name, shape, formats or {})], shape) for name, shape in shapes.items()}
    all_keys = {**_keys(family, layers), **{f"{family}.{key}": value for key, value in keys.items()}}
    tensors = {name: _tensor(name, type) for name, type in types.items()}
    checkpoint = RandomCheckpoint([Path("random.gguf")], [], all_keys, tensors)
    graph = build(checkpoint, arch.find()[family], read_config(checkpoint), VOCAB)
    return Decoder(graph, Weights(types))


def _tensor(name: str, type: TensorType) -> Tensor:
    assert not isinstance(type.dtype, DType)
    return Tensor(name, type.dtype, tuple(int(d) for d in type.shape), 0, 0, 0)


def _format(name: str, shape: tuple[int, ...], formats: Mapping[str, str]) -> str:
    return "f32" if len(shape) == 1 else formats.get(name.removesuffix(".weight").split(".")[-1], "q4_0")


def _keys(family: str, layers: int) -> dict[str, int | float | str]:
    numbers = {
        "embedding_length": HIDDEN, "feed_forward_length": INTERMEDIATE, "block_count": layers, "context_length": 256,
        "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.key_length": HEAD_DIM, "attention.value_length": HEAD_DIM, "rope.dimension_count": HEAD_DIM,
    }  # fmt: skip
    return {"general.architecture": family, **{f"{family}.{key}": value for key, value in numbers.items()}}
