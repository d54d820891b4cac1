"""Changes the formats in which the artifact stores the matrices that do the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from llmc.ir.graph import Graph, Node, Uses, Value
from llmc.ir.quant import Format
from llmc.ir.types import TensorType
from llmc.passes.base import graph_pass

HEAD_STEPS = ("softcap", "scale", "scale_columns", "add_bias")
"""What may stand between the last product and the logits."""
MATRICES = {"linear": (1,), "embedding": (1,), "experts": (3, 4, 5), "ungated_experts": (3, 4)}
"""The operands of ops that may be stored in any format."""
FEWEST_ROWS = 16  # of a matrix that is worth it: gates of a few rows stay


@dataclass(frozen=True)
class Formats:
    """Formats to store weights in, the first whose blocks divide a row: of the output matrix (a tied embedding too), and of
    others."""

    head: tuple[Format, ...]
    others: tuple[Format, ...]


@graph_pass
def requantize_weights(graph: Graph, formats: Formats) -> Graph:
    """Gives matrices that only linear, experts and the embedding of tokens use other formats; codegen stores them so.

    Left as they are: vectors, what a router reads its logits from (rounding would flip experts), small kernels of convolutions,
    learned positions, and matrices of fewer than 16 rows. Changes results.
    """
    uses = Uses(graph)
    head = _head(graph, uses)
    types: dict[str, TensorType] = {}
    for node in graph.of_kind("weight"):
        value = node.output
        users = uses.users(value)
        if users and all(user is not None and _may_change(user, value, uses) for user in users):
            types[value.name] = _changed(value.type, formats.head if value.name == head else formats.others)
    return graph.with_nodes(_retyped(node, types) for node in graph.nodes)


def _may_change(user: Node, weight: Value, uses: Uses) -> bool:
    operands = [i for i, value in enumerate(user.inputs) if value.name == weight.name]
    if not set(operands) <= set(MATRICES.get(user.op, ())) or int(weight.type.shape[-2]) < FEWEST_ROWS:
        return False
    if user.op == "embedding":
        return user.inputs[0].name != "positions"
    return not any(node is not None and node.op == "router" for node in uses.users(user.outputs[0]))


def _head(graph: Graph, uses: Uses) -> str | None:
    """The name of the weight that makes the logits."""
    node = uses.producer.get(graph.results[0].name)
    while node is not None and node.op in HEAD_STEPS:
        node = uses.producer.get(node.inputs[0].name)
    return node.inputs[1].name if node is not None and node.op == "linear" else None


def _changed(type: TensorType, formats: tuple[Format, ...]) -> TensorType:
    k = int(type.shape[-1])
    fitting: Iterator[Format] = (f for f in formats if k % f.weights == 0)
    return replace(type, dtype=next(fitting, type.dtype))


def _retyped(node: Node, types: Mapping[str, TensorType]) -> Node:
    def with_type(value: Value) -> Value:
        return replace(value, type=types[value.name]) if value.name in types else value

    if not any(value.name in types for value in (*node.inputs, *node.outputs)):
        return node
    return replace(node, inputs=tuple(map(with_type, node.inputs)), outputs=tuple(map(with_type, node.outputs)))
