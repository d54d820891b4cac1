"""The tensors of one block, asked for by llmc's names and checked against the shape the config implies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.config import Keys
from llmc.ir.graph import Builder, Value
from llmc.ir.quant import DenseFormat, dequantize
from llmc.ir.types import TensorType

SIZE_KEYS = ("hidden", "intermediate", "heads", "kv_heads", "head_dim", "experts")


@dataclass(frozen=True)
class Factor:
    """A weight [N, K] of a product. order: which columns of x its own meet, i32 [K], None: in order. scales: [N] factors of its
    rows, None: there are none."""

    weight: Value
    order: Value | None
    scales: Value | None


@dataclass
class Weights:
    """`names` maps llmc's names to the checkpoint's; `{i}` stands for the layer. Remembers which tensors were used."""

    builder: Builder
    checkpoint: Checkpoint
    names: Mapping[str, str]
    layer: int = 0
    used: set[str] = field(default_factory=set)

    def at(self, layer: int) -> Weights:
        return Weights(self.builder, self.checkpoint, self.names, layer, self.used)

    def has(self, name: str) -> bool:
        return name in self.names and self._name(name) in self.checkpoint.tensors

    def rows_of(self, name: str) -> int:
        """How many rows a matrix has whose number no key says. Raises MalformedFileError where it is not there."""
        full = self._name(name)
        if full not in self.checkpoint.tensors or len(self.checkpoint.tensors[full].shape) != 2:
            raise MalformedFileError(f"tensor {full} is missing or not a matrix")
        return self.checkpoint.tensors[full].shape[0]

    def number(self, name: str) -> float:
        """The only element of a tensor. Raises MalformedFileError where it is not one finite number."""
        tensor = self._dense(name, (1,))
        (value,) = dequantize(tensor.format, self.checkpoint.data(tensor.name))
        if not math.isfinite(value):
            raise MalformedFileError(f"tensor {tensor.name} holds {value}")
        return float(value)

    def matrix(self, name: str, rows: int, columns: int, part: tuple[int, int] | None = None) -> Value:
        """A weight [rows, columns] in its own format, or the rows [lo, hi) of it."""
        return self._weight(self._alone(self._tensor(name, (rows, columns))), part)

    def row(self, name: str, columns: int) -> Value:
        """A weight [1, columns], which some files store as a vector."""
        stored = self.checkpoint.tensors.get(self._name(name))
        tensor = self._tensor(name, (columns,) if stored is not None and len(stored.shape) == 1 else (1, columns))
        return self._weight(replace(self._alone(tensor), shape=(1, columns)), None)

    def factor(self, name: str, rows: int, columns: int, part: tuple[int, int] | None = None) -> Factor:
        """A weight as `matrix` gives it, for a product."""
        tensor = self._tensor(name, (rows, columns))
        self.used |= {each for each in (tensor.columns, tensor.scales) if each}
        order = self._weight(self.checkpoint.tensors[tensor.columns], None) if tensor.columns else None
        scales = self._weight(replace(self.checkpoint.tensors[tensor.scales], shape=(rows,)), part) if tensor.scales else None
        return Factor(self._weight(tensor, part), order, scales)

    def stack(self, name: str, count: int, rows: int, columns: int) -> Value:
        """The matrices [rows, columns] of `count` experts as one weight [count, rows, columns]."""
        return self._weight(self._alone(self._tensor(name, (count, rows, columns))), None)

    def vector(self, name: str, size: int, part: tuple[int, int] | None = None) -> Value:
        """Norm weights and biases: [size] of F32, F16 or BF16, or the elements [lo, hi) of one."""
        return self._weight(self._dense(name, (size,)), part)

    def optional_vector(self, name: str, size: int, part: tuple[int, int] | None = None) -> Value | None:
        return self.vector(name, size, part) if self.has(name) else None

    def flat(self, name: str, size: int) -> Value:
        """As `vector`, of a tensor that may have its elements in rows: GGUF files store some so."""
        tensor = self._tensor(name, (size,), flat=True)
        return self._weight(self._plain(replace(tensor, shape=(size,))), None)

    def table(self, name: str, rows: int, columns: int) -> Value:
        """A small matrix [rows, columns] of F32, F16 or BF16; HF files store convolutions as [rows, 1, columns]."""
        return self._weight(self._plain(replace(self._tensor(name, (rows, columns), flat=True), shape=(rows, columns))), None)

    def vectors(self, name: str, count: int, size: int) -> Value:
        """The biases of `count` experts as one weight [count, size], of the same types."""
        return self._weight(self._dense(name, (count, size)), None)

    def _dense(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._plain(self._tensor(name, shape))

    def _plain(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor.format, DenseFormat):
            raise UnsupportedModelError(
                f"tensor {tensor.name} is a vector of type {tensor.format.name}; vectors must be f32, f16 or bf16"
            )
        return tensor

    def _weight(self, tensor: Tensor, part: tuple[int, int] | None) -> Value:
        rows = tensor.shape[0] if part is None else part[1] - part[0]
        return self.builder.weight(tensor.name, TensorType(tensor.format, (rows, *tensor.shape[1:])), part)

    def _alone(self, tensor: Tensor) -> Tensor:
        if tensor.columns is not None:
            raise UnsupportedModelError(f"tensor {tensor.columns}: columns in act-order of a weight that is no linear's")
        if tensor.scales is not None:
            raise UnsupportedModelError(f"tensor {tensor.scales}: factors of the rows of a weight that is no linear's")
        return tensor

    def _name(self, name: str) -> str:
        return self.names[name].format(i=self.layer)

    def _tensor(self, name: str, shape: tuple[int, ...], *, flat: bool = False) -> Tensor:
        """The tensor, of that shape; if `flat`, of any with as many elements."""
        full = self._name(name)
        if full not in self.checkpoint.tensors:
            raise MalformedFileError(f"tensor {full} is missing")
        tensor = self.checkpoint.tensors[full]
        if tensor.shape != shape and not (flat and math.prod(tensor.shape) == math.prod(shape)):
            raise MalformedFileError(
                f"tensor {full} has shape {list(tensor.shape)} (rows first), but the keys imply {list(shape)}: {self._sizes()}"
            )
        self.used.add(full)
        return tensor

    def _sizes(self) -> str:
        """The keys that shapes follow from, for a message."""
        keys = map(Keys(self.checkpoint).name, SIZE_KEYS)
        return ", ".join(f"{key} {self.checkpoint.keys[key]}" for key in keys if isinstance(self.checkpoint.keys.get(key), int))
