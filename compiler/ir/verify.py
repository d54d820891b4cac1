"""The invariants of a graph, checked after every pass.

    1. Sources (input, weight, constant) come before all other nodes.
    2. Every value is defined once; every use and every result comes after its definition and names the same type.
    3. Every op is in the catalogue and infers exactly the types its outputs carry.
    4. Constants hold data of their shape; weights name a tensor and hold whole blocks; every symbolic dimension has a bound
       (S, the context, excepted).
    5. A cache value is appended to once and not used afterwards: pages and states are updated in place.
    6. Attributes are finite numbers, booleans, strings and tuples of them, so that the text form parses back.
    7. Once memory is planned, no value is overwritten while it is needed (ir/storage.py).
"""

from __future__ import annotations

import math
from typing import Any

from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.ops import OpError, infer
from llmc.ir.ops_recurrent import STATEFUL
from llmc.ir.storage import StorageError, check_plan
from llmc.ir.types import CACHE, DType

APPENDS = ("kv_append", "rope_kv_append", "latent_append", *STATEFUL)


class VerifyError(AssertionError):
    """A graph that breaks an invariant: a bug in the pass or frontend named in the message."""


def verify(graph: Graph, after: str = "") -> None:
    """Raises VerifyError with `after <pass>: what is wrong`."""
    try:
        _check_uses(graph)
        for node in graph.nodes:
            _check_node(node, graph)
        if "arena" in graph.attrs:
            check_plan(graph)
    except (VerifyError, OpError, StorageError) as error:
        raise VerifyError(f"after {after}: {error}" if after else str(error)) from None


def _check_uses(graph: Graph) -> None:
    """Rules 1, 2 and 5."""
    defined: dict[str, Value] = {}
    appended: set[str] = set()
    computing = False
    for node in graph.nodes:
        computing = computing or node.op not in SOURCES
        if computing and node.op in SOURCES:
            raise VerifyError(f"source {node.outputs[0]} stands after a computation")
        for value in node.inputs:
            _check_use(value, defined, appended, node.op)
        if node.op in APPENDS:
            appended.update(value.name for value in node.inputs if value.type == CACHE)
        for value in node.outputs:
            if value.name in defined:
                raise VerifyError(f"{value} is defined twice")
            defined[value.name] = value
    for value in graph.results:
        _check_use(value, defined, appended, "return")


def _check_use(value: Value, defined: dict[str, Value], appended: set[str], where: str) -> None:
    known = defined.get(value.name)
    if known is None:
        raise VerifyError(f"{'output' if where == 'return' else where + ' input'} {value} is not defined")
    if known is not value and known != value:
        raise VerifyError(f"{value} is {known.type}, {where} takes it for {value.type}")
    if value.name in appended:
        raise VerifyError(f"{where} uses {value} after it was appended to")


def _check_node(node: Node, graph: Graph) -> None:
    """Rules 3, 4 and 6."""
    if node.op == "constant":
        _check_constant(node)
    elif node.op == "weight":
        _check_weight(node)
    elif node.op != "input":
        _check_computation(node)
    for name, attr in node.attrs.items():
        if not _is_literal(attr):
            raise VerifyError(f"{node.op} {node.outputs[0]}: attribute {name} is {attr!r}")
    for value in node.outputs:
        for dim in value.type.shape:
            if isinstance(dim, str) and dim != "S" and dim not in graph.bounds:
                raise VerifyError(f"{value}: no bound for dimension {dim}")


def _check_constant(node: Node) -> None:
    if node.data is None or node.data.shape != node.output.type.shape:
        raise VerifyError(f"constant {node.output} has no data of its shape")


def _check_weight(node: Node) -> None:
    type = node.output.type
    if not isinstance(node.attrs.get("tensor"), str):
        raise VerifyError(f"weight {node.output} names no tensor")
    if isinstance(type.dtype, DType) or any(isinstance(dim, str) for dim in type.shape):
        raise VerifyError(f"weight {node.output} is {type}; weights have a format and a fixed shape")
    if int(type.shape[-1]) % type.dtype.weights:
        raise VerifyError(f"weight {node.output}: rows of {type} are no whole blocks of {type.dtype.weights}")


def _check_computation(node: Node) -> None:
    inferred = infer(node.op, [value.type for value in node.inputs], node.attrs)
    stated = tuple(value.type for value in node.outputs)
    if inferred != stated:
        raise VerifyError(f"{node.op} gives {' '.join(map(str, inferred))}, its outputs say {' '.join(map(str, stated))}")


def _is_literal(attr: Any) -> bool:
    if isinstance(attr, tuple):
        return all(map(_is_literal, attr))
    return isinstance(attr, str) or (type(attr) in (int, float, bool) and math.isfinite(attr))
