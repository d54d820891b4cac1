"""Random but repeatable weights and inputs for the interpreter, made from a graph's own types."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmc.ir.graph import Graph
from llmc.ir.interpret import KvState, WeightData
from llmc.ir.quant import BlockFormat, dequantize
from llmc.ir.types import DType, TensorType
from tests.codegen.weights import with_scales

SPREAD = 0.15  # standard deviation of the weights of a matrix
ROWS = {"T": 6, "R": 2}


@dataclass(frozen=True)
class Weights:
    """Weight data by tensor name, the same in every run."""

    types: Mapping[str, TensorType]

    @staticmethod
    def of(graph: Graph) -> Weights:
        return Weights({node.attrs["tensor"]: node.output.type for node in graph.of_kind("weight")})

    def __call__(self, tensor: str) -> WeightData:
        type = self.types[tensor]
        return WeightData(type.dtype, raw_weight(type, tensor), tuple(int(d) for d in type.shape))  # type: ignore[arg-type]


def raw_weight(type: TensorType, name: str) -> npt.NDArray[np.uint8]:
    """Stored bytes: matrices spread around 0, vectors between 0.5 and 1.5, indices in some order."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    shape = [int(d) for d in type.shape]
    assert not isinstance(type.dtype, DType)
    if isinstance(type.dtype, BlockFormat):
        return _raw_blocks(type.dtype, int(np.prod(shape)) // type.dtype.weights, rng)
    values = rng.normal(0, SPREAD, shape) if len(shape) > 1 else rng.uniform(0.5, 1.5, shape)
    encode: dict[str, Callable[[Any], Any]] = {
        "f32": lambda v: v.astype("<f4"),
        "f16": lambda v: v.astype("<f2"),
        "bf16": lambda v: (v.astype("<f4").view("<u4") >> 16).astype("<u2"),
        "i32": lambda v: np.argsort(v).astype("<i4"),
    }
    return np.frombuffer(encode[type.dtype.name](values).tobytes(), np.uint8)


def _raw_blocks(fmt: BlockFormat, blocks: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Blocks of random codes whose factors give the weights about the right spread."""
    raw = rng.integers(0, 256, (blocks, fmt.nbytes), np.uint8)
    factors = rng.uniform(0.5, 1.0, blocks)
    spread = dequantize(fmt, with_scales(fmt, raw, lambda _: factors)).std()
    return with_scales(fmt, raw, lambda _: factors * (SPREAD / spread))


def inputs(graph: Graph, seed: int = 0) -> dict[str, Any]:
    """One value for each input: a cache is empty; i32 are positions 0, 1, ... or, over [R], row numbers."""
    rng = np.random.default_rng(seed)
    return {node.output.name: _input(node.output.type, node.output.name, rng) for node in graph.of_kind("input")}


def _input(type: TensorType, name: str, rng: np.random.Generator) -> Any:
    shape = [ROWS[d] if isinstance(d, str) else d for d in type.shape]
    if type.dtype is DType.CACHE:
        return KvState()
    if type.dtype is DType.I32 and name.startswith("tokens"):
        return rng.integers(0, 32, shape)
    if type.dtype is DType.I32:
        return np.arange(shape[0]) if type.shape == ("T",) else np.sort(rng.permutation(ROWS["T"])[: shape[0]])
    return rng.normal(0, 1, shape).astype(np.float32)
