"""The invariants of a graph, checked after every pass.

    1. Sources (input, weight, constant) come before all other nodes.
    2. Every value is defined once; every use and every result comes after its definition and names the same type.
    3. Every op is in the catalogue and infers exactly the types its outputs carry.
    4. Constants hold data of their shape; weights name a tensor and hold whole blocks; every symbolic dimension has a bound (S, the
       context, excepted).
    5. A cache value is appended to once and not used afterwards: pages are updated in place.
    6. Attributes are finite numbers, booleans, strings and tuples of them, so that the text form parses back.
    7. Once memory is planned, no value is overwritten while it is needed (ir/storage.py).
"""

from __future__ import annotations

import math
from typing import Any

from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.ops import CATALOGUE, OpError, infer
from llmc.ir.storage import StorageError, check_plan
from llmc.ir.types import CACHE, DType


APPENDS = ("kv_append", "rope_kv_append")


class VerifyError(AssertionError):
    """A graph that breaks an invariant: a bug in the pass or frontend named in the message."""


def verify(graph: Graph, after: str = "") -> None:
    """Raises VerifyError with `after <pass>: what is wrong`."""
    try:
        _verify(graph)
    except (VerifyError, OpError, StorageError) as error:
        raise VerifyError(f"after {after}: {error}" if after else str(error)) from None


def _verify(graph: Graph) -> None:
    defined: dict[str, Value] = {}
    appended: set[str] = set()
    computing = False
    for node in graph.nodes:
        computing |= node.op not in SOURCES
        _require(not (computing and node.op in SOURCES), f"source {node.outputs[0]} stands after a computation")
        for value in node.inputs:
            _check_use(value, defined, node.op)
            _require(value.name not in appended, f"{node.op} uses {value} after it was appended to")
        if node.op in APPENDS:
            appended.update(value.name for value in node.inputs if value.type == CACHE)
        _check_node(node, graph)
        for value in node.outputs:
            _require(value.name not in defined, f"{value} is defined twice")
            defined[value.name] = value
    for value in graph.results:
        _check_use(value, defined, "return")
        _require(value.name not in appended, f"return uses {value} after it was appended to")
    if "arena" in graph.attrs:
        check_plan(graph)


def _check_use(value: Value, defined: dict[str, Value], where: str) -> None:
    _require(value.name in defined, f"{'output' if where == 'return' else where + ' input'} {value} is not defined")
    _require(defined[value.name] == value, f"{value} is {defined[value.name].type}, {where} takes it for {value.type}")


def _check_node(node: Node, graph: Graph) -> None:
    if node.op == "constant":
        _require(node.data is not None and node.data.shape == node.output.type.shape, f"constant {node.output} has no data of its shape")
    elif node.op == "weight":
        _check_weight(node)
    elif node.op != "input":
        _require(node.op in CATALOGUE, f"unknown op {node.op}")
        types = infer(node.op, [v.type for v in node.inputs], node.attrs)
        _require(types == tuple(v.type for v in node.outputs), f"{node.op} gives {[str(t) for t in types]}, {node.outputs[0]} says otherwise")
    for name, attr in node.attrs.items():
        _require(_is_literal(attr), f"{node.op} {node.outputs[0]}: attribute {name} is {attr!r}")
    for value in node.outputs:
        for dim in value.type.shape:
            _require(not isinstance(dim, str) or dim == "S" or dim in graph.bounds, f"{value}: no bound for dimension {dim}")


def _check_weight(node: Node) -> None:
    type = node.output.type
    _require(isinstance(node.attrs.get("tensor"), str), f"weight {node.output} names no tensor")
    whole = not isinstance(type.dtype, DType) and all(isinstance(dim, int) for dim in type.shape)
    _require(whole and int(type.shape[-1]) % type.dtype.weights == 0, f"weight {node.output} is no whole blocks of {type}")


def _is_literal(attr: Any) -> bool:
    if isinstance(attr, tuple):
        return all(map(_is_literal, attr))
    return isinstance(attr, str) or (type(attr) in (int, float, bool) and math.isfinite(attr))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise VerifyError(message)
