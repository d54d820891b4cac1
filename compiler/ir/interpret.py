"""Runs a graph in numpy: the oracle every pass and every compiled model is checked against.

One sequence; positions are consecutive. A weight is fetched by tensor name as a `WeightData`; the cache value is a `KvState`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llmc.ir.graph import Graph, Node
from llmc.ir.ops import CATALOGUE
from llmc.ir.quant import DenseFormat, dequantize, values_of
from llmc.ir.quantize import encode, quantize
from llmc.ir.types import DType, Format

Array = npt.NDArray[Any]
F32 = DenseFormat("f32", 0, 4)


@dataclass(frozen=True)
class WeightData:
    """A stored tensor: its format, the raw bytes and the shape, rows first."""

    format: Format
    raw: npt.NDArray[np.uint8]
    shape: tuple[int, ...]

    def part(self, lo: int, hi: int) -> WeightData:
        """Rows [lo, hi)."""
        per_row = len(self.raw) // self.shape[0]
        return WeightData(self.format, self.raw[lo * per_row : hi * per_row], (hi - lo, *self.shape[1:]))

    def stored_as(self, fmt: Format | DType) -> WeightData:
        """What it is once stored in another format."""
        if fmt == self.format or isinstance(fmt, DType):
            return self
        values = dequantize(self.format, self.raw)
        if isinstance(fmt, DenseFormat):
            return WeightData(fmt, encode(fmt, values), self.shape)
        return WeightData(F32, values_of(fmt, quantize(fmt, values)).view(np.uint8), self.shape)

    def array(self) -> Array:
        return dequantize(self.format, self.raw).reshape(self.shape)

    def rows(self, ids: Array) -> Array:
        per_row = len(self.raw) // self.shape[0]
        picked = self.raw.reshape(self.shape[0], per_row)[ids].reshape(-1)
        return dequantize(self.format, picked).reshape(len(ids), *self.shape[1:])


def _kept(x: Array, dtype: str, heads: int) -> Array:
    """What is left of keys or values [T, heads*D] once they are stored. "q8": int8, a scale for each token's head."""
    if dtype == "q8":
        rows = x.reshape(len(x), heads, -1)
        scale = np.abs(rows).max(axis=2, keepdims=True) / np.float32(127)
        codes = np.rint(np.divide(rows, scale, out=np.zeros_like(rows), where=scale > 0))
        return np.asarray((codes * scale).reshape(x.shape), np.float32)
    return x.astype(np.float16).astype(np.float32) if dtype == "f16" else x


@dataclass(frozen=True)
class KvState:
    """Keys and values of every layer so far, each [S, Hk*D], and what recurrent layers keep, by op and layer; changing one
    makes a new state."""

    layers: Mapping[int, tuple[Array, Array]] = field(default_factory=dict)
    states: Mapping[tuple[str, int], Array] = field(default_factory=dict)

    def append(self, layer: int, k: Array, v: Array, dtype: str, kv_heads: int = 1, fresh: bool = False) -> KvState:
        stored = [_kept(x, dtype, kv_heads) for x in (k, v)]
        if layer in self.layers and not fresh:
            stored = [np.concatenate([old, new]) for old, new in zip(self.layers[layer], stored, strict=True)]
        return replace(self, layers={**self.layers, layer: (stored[0], stored[1])})

    def keys(self, layer: int) -> Array:
        return self.layers[layer][0]

    def values(self, layer: int) -> Array:
        return self.layers[layer][1]

    def state(self, key: tuple[str, int], shape: tuple[int, ...]) -> Array:
        return self.states[key] if key in self.states else np.zeros(shape, np.float32)

    def with_state(self, key: tuple[str, int], state: Array) -> KvState:
        return replace(self, states={**self.states, key: state})


def interpret(graph: Graph, inputs: Mapping[str, Any], weight: Callable[[str], WeightData]) -> tuple[Any, ...]:
    """Results of `graph`. `inputs` by input name; `weight` by tensor name."""
    values: dict[str, Any] = {}
    for node in graph.nodes:
        results = _source(node, inputs, weight) if not node.inputs else _compute(node, values)
        values.update(zip((v.name for v in node.outputs), results, strict=True))
    return tuple(values[value.name] for value in graph.results)


def _source(node: Node, inputs: Mapping[str, Any], weight: Callable[[str], WeightData]) -> tuple[Any, ...]:
    if node.op == "input":
        return (inputs[node.output.name],)
    if node.op == "weight":
        data = weight(node.attrs["tensor"])
        data = data.part(*node.attrs["rows"]) if "rows" in node.attrs else data
        data = data.stored_as(node.output.type.dtype)
        # a vector (norm weight, bias) is plain numbers wherever it is used; a matrix keeps its format
        return (data.array() if len(data.shape) == 1 else data,)
    return (node.data,)


def _compute(node: Node, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return CATALOGUE[node.op].compute([values[v.name] for v in node.inputs], node.attrs)
