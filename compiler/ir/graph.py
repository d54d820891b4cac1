"""The graph: a straight line of nodes over named values.

A Graph is immutable. Sources (inputs, weights, constants) come first, then nodes in execution order; a value is defined once and
before its uses. Passes make new graphs with `Edit`; frontends build them with `Builder`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from llmc.ir.types import TensorType, f32

SOURCES = ("input", "weight", "constant")


@dataclass(frozen=True)
class Value:
    """A named result. Names are unique within a graph."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: `outputs = op(inputs) {attrs}`. `data` holds the elements of a constant."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    data: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))

    @property
    def output(self) -> Value:
        (value,) = self.outputs
        return value

    def with_attrs(self, **attrs: Any) -> Node:
        return Node(self.op, self.inputs, self.outputs, {**self.attrs, **attrs}, self.data)


@dataclass(frozen=True, eq=False)
class Graph:
    """`bounds`: the largest value of every symbolic dimension; `attrs`: what passes found out about the whole (arena bytes)."""

    nodes: tuple[Node, ...]
    results: tuple[Value, ...]
    bounds: Mapping[str, int] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", MappingProxyType(dict(self.bounds)))
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))

    def of_kind(self, op: str) -> list[Node]:
        return [node for node in self.nodes if node.op == op]

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        return Graph(tuple(nodes), self.results, self.bounds, self.attrs)


class Names:
    """Hands out names that no value has yet, made of letters, digits, `_` and `.`: the characters the text form can read back."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def fresh(self, wish: str) -> str:
        """`wish`, or `wish.1`, `wish.2` ... where it is taken."""
        wish = re.sub(r"[^\w.]", "_", wish, flags=re.ASCII) or "_"
        name, n = wish, self._next.get(wish, 0)
        while name in self._taken:
            n += 1
            name = f"{wish}.{n}"
        self._next[wish] = n
        self._taken.add(name)
        return name


class Uses:
    """Who makes and who uses each value of a graph; results count as a use by None."""

    def __init__(self, graph: Graph) -> None:
        self.producer: dict[str, Node] = {}
        self._users: dict[str, list[Node | None]] = {}
        for node in graph.nodes:
            for value in node.outputs:
                self.producer[value.name] = node
            for value in node.inputs:
                self._users.setdefault(value.name, []).append(node)
        for value in graph.results:
            self._users.setdefault(value.name, []).append(None)

    def users(self, value: Value) -> list[Node | None]:
        return self._users.get(value.name, [])

    def only_user(self, value: Value) -> Node | None:
        """The one node that uses `value` (once), or None when there are more, or it is a result."""
        users = self.users(value)
        return users[0] if len(users) == 1 else None

    def is_source(self, value: Value) -> bool:
        """Whether `value` is an input, weight or constant, so that it is defined before every computation."""
        return value.name in self.producer and self.producer[value.name].op in SOURCES

    def made_by(self, value: Value, op: str) -> Node | None:
        node = self.producer.get(value.name)
        return node if node is not None and node.op == op else None


class Edit:
    """Replaces nodes of a graph, keeping their place and the values they define.

        edit = Edit(graph)
        edit.replace(node, "silu_mul", (gate, up))
        return edit.graph()
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._instead: dict[int, list[Node]] = {}
        self._before: dict[int, list[Node]] = {}
        self._renamed: dict[str, Value] = {}
        self._names = Names(value.name for node in graph.nodes for value in node.outputs)

    def replace(self, node: Node, op: str, inputs: Sequence[Value], outputs: Sequence[Value] | None = None, **attrs: Any) -> None:
        """Puts `op` where `node` stands; by default it defines the same values."""
        self._instead[id(node)] = [Node(op, tuple(inputs), node.outputs if outputs is None else tuple(outputs), attrs)]

    def swap(self, node: Node, new: Node) -> None:
        self._instead[id(node)] = [new]

    def drop(self, *nodes: Node) -> None:
        for node in nodes:
            self._instead[id(node)] = []

    def insert_before(self, node: Node, op: str, inputs: Sequence[Value], type: TensorType, name: str, **attrs: Any) -> Value:
        value = self.value(name, type)
        self._before.setdefault(id(node), []).append(Node(op, tuple(inputs), (value,), attrs))
        return value

    def value(self, name: str, type: TensorType) -> Value:
        """A new value whose name starts with `name`."""
        return Value(self._names.fresh(name), type)

    def rename(self, old: Value, new: Value) -> None:
        """Every later use of `old`, results included, becomes `new`."""
        self._renamed[old.name] = new

    def touched(self, node: Node) -> bool:
        return id(node) in self._instead

    def graph(self, **attrs: Any) -> Graph:
        nodes: list[Node] = []
        for node in self._graph.nodes:
            nodes += self._before.get(id(node), [])
            nodes += self._instead.get(id(node), [node])
        if self._renamed:
            nodes = [self._with_new_names(node) for node in nodes]
        results = tuple(map(self._final, self._graph.results))
        sources = [n for n in nodes if n.op in SOURCES]
        others = [n for n in nodes if n.op not in SOURCES]
        return Graph((*sources, *others), results, self._graph.bounds, {**self._graph.attrs, **attrs})

    def _with_new_names(self, node: Node) -> Node:
        if not any(value.name in self._renamed for value in node.inputs):
            return node
        return Node(node.op, tuple(map(self._final, node.inputs)), node.outputs, node.attrs, node.data)

    def _final(self, value: Value) -> Value:
        while value.name in self._renamed:
            value = self._renamed[value.name]
        return value


class Builder:
    """Appends nodes, names values and infers their types through the op catalogue.

        b = Builder(bounds={"T": 128})
        y = b.emit("rms_norm", x, w, eps=1e-5, name="attn_norm.0")
    """

    def __init__(self, bounds: Mapping[str, int] | None = None) -> None:
        self.bounds = dict(bounds or {})
        self._sources: list[Node] = []
        self._nodes: list[Node] = []
        self._names = Names()
        self._weights: dict[tuple[str, tuple[int, int] | None], Value] = {}

    def input(self, name: str, type: TensorType) -> Value:
        return self._source(Node("input", (), (self._value(name, type),)))

    def weight(self, tensor: str, type: TensorType, rows: tuple[int, int] | None = None) -> Value:
        """A tensor of the checkpoint, by its name there, or its rows [lo, hi), whose type is given then.

        The same tensor and rows give the same value.
        """
        if (tensor, rows) not in self._weights:
            name = tensor if rows is None else f"{tensor}.{rows[0]}"
            attrs = {"tensor": tensor} if rows is None else {"tensor": tensor, "rows": rows}
            self._weights[tensor, rows] = self._source(Node("weight", (), (self._value(name, type),), attrs))
        return self._weights[tensor, rows]

    def constant(self, name: str, data: npt.NDArray[np.float32]) -> Value:
        return self._source(Node("constant", (), (self._value(name, f32(*data.shape)),), {}, np.asarray(data, np.float32)))

    def emit(self, op: str, *inputs: Value, name: str | None = None, **attrs: Any) -> Value:
        (value,) = self.emit_many(op, *inputs, names=(name or op,), **attrs)
        return value

    def emit_many(self, op: str, *inputs: Value, names: Sequence[str], **attrs: Any) -> tuple[Value, ...]:
        from llmc.ir.ops import infer

        types = infer(op, [value.type for value in inputs], attrs)
        outputs = tuple(self._value(name, type) for name, type in zip(names, types, strict=True))
        self._nodes.append(Node(op, inputs, outputs, attrs))
        return outputs

    def graph(self, *results: Value) -> Graph:
        return Graph((*self._sources, *self._nodes), results, self.bounds)

    def _source(self, node: Node) -> Value:
        self._sources.append(node)
        return node.output

    def _value(self, name: str, type: TensorType) -> Value:
        return Value(self._names.fresh(name), type)
