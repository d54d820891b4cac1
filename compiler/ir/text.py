"""The text form of a graph: prints, and parses back to the same graph.

    bounds T=128 R=128
    %tokens = input i32[T]
    %w = weight q4_0[64,32] {tensor="blk.0.ffn_up.weight"}
    %c = constant f32[2] (1.0, 0.5)
    %y, %z = linear_group %x, %w, %v {biases=(False, False)}  # f32[T,64] f32[T,64]
    return %y, %z

Only sources state their type; the others' types are inferred (and printed as a comment). Attributes are Python literals. A line
ends at a `#` that no `}` follows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.ops import infer
from llmc.ir.quant import INDICES
from llmc.ir.types import DType, Format, TensorType


class ParseError(ValueError):
    """Text that is not a graph; the message has the line."""


def print_graph(graph: Graph) -> str:
    lines = []
    if graph.bounds:
        lines.append("bounds " + " ".join(f"{name}={bound}" for name, bound in graph.bounds.items()))
    if graph.attrs:
        lines.append("attrs " + _print_attrs(graph.attrs).strip())
    lines += [_print_node(node) for node in graph.nodes]
    lines.append("return " + ", ".join(map(str, graph.results)))
    return "\n".join(lines) + "\n"


def _print_node(node: Node) -> str:
    left = ", ".join(map(str, node.outputs))
    if node.op in SOURCES:
        data = "" if node.data is None else f" ({', '.join(repr(float(x)) for x in node.data.reshape(-1))})"
        return f"{left} = {node.op} {node.output.type}{data}{_print_attrs(node.attrs)}"
    types = " ".join(str(v.type) for v in node.outputs)
    return f"{left} = {node.op} {', '.join(map(str, node.inputs))}{_print_attrs(node.attrs)}  # {types}"


def _print_attrs(attrs: Mapping[str, Any]) -> str:
    return " {" + ", ".join(f"{name}={value!r}" for name, value in attrs.items()) + "}" if attrs else ""


_COMMENT = re.compile(r"(^|\s+)#[^}]*$")
_LINE = re.compile(r"^(?P<outs>%[^=]+?)\s*=\s*(?P<op>\w+)\s*(?P<rest>.*)$")
_TYPE = re.compile(r"^(?P<name>\w+)(\[(?P<shape>[\w,]*)\])?\s*(?P<data>\([^)]*\))?\s*$")


def parse_graph(text: str, formats: Mapping[str, Format] | None = None) -> Graph:
    """The graph `text` prints. `formats` gives weight formats by name. Raises ParseError with the line number."""
    nodes: list[Node] = []
    values: dict[str, Value] = {}
    results: tuple[Value, ...] = ()
    bounds: dict[str, int] = {}
    attrs: dict[str, Any] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        try:
            if line.startswith("bounds "):
                bounds = {k: int(v) for k, v in (pair.split("=") for pair in line.split()[1:])}
            elif line.startswith("attrs "):
                attrs = _parse_attrs(line[6:])
            elif line.startswith("return"):
                results = tuple(values[name] for name in _names(line[6:]))
            else:
                nodes.append(_parse_node(line, values, formats or {}))
                values.update({v.name: v for v in nodes[-1].outputs})
        except (KeyError, ValueError, SyntaxError, AttributeError) as error:
            raise ParseError(f"line {number}: {raw.strip()}: {error!r}") from error
    return Graph(tuple(nodes), results, bounds or {"T": 128, "R": 128}, attrs)


def _parse_node(line: str, values: Mapping[str, Value], formats: Mapping[str, Format]) -> Node:
    match = _LINE.match(line)
    if match is None:
        raise ValueError("not `%name = op ...`")
    rest, _, braces = match["rest"].partition("{")
    attrs = _parse_attrs("{" + braces) if braces else {}
    names = _names(match["outs"])
    if match["op"] in SOURCES:
        return _parse_source(match["op"], names[0], rest, attrs, formats)
    inputs = tuple(values[name] for name in _names(rest))
    types = infer(match["op"], [v.type for v in inputs], attrs)
    return Node(match["op"], inputs, tuple(Value(n, t) for n, t in zip(names, types, strict=True)), attrs)


def _parse_source(op: str, name: str, rest: str, attrs: dict[str, Any], formats: Mapping[str, Format]) -> Node:
    match = _TYPE.match(rest.strip())
    if match is None:
        raise ValueError("not a type")
    shape = tuple(int(d) if d.isdigit() else d for d in (match["shape"] or "").split(",") if d)
    dtype = {**formats, INDICES.name: INDICES}.get(match["name"]) if op == "weight" else None
    type = TensorType(dtype or DType(match["name"]), shape)
    data = None
    if match["data"]:
        data = np.array([float(x) for x in match["data"][1:-1].split(",") if x.strip()], np.float32).reshape(shape)  # type: ignore[arg-type]
    if op == "weight":
        attrs = {"tensor": name, **attrs}
    return Node(op, (), (Value(name, type),), attrs, data)


def _names(text: str) -> list[str]:
    return [part.strip().removeprefix("%") for part in text.split(",") if part.strip()]


def _parse_attrs(text: str) -> dict[str, Any]:
    """`{a=1, b="x"}` through Python's literal syntax."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ValueError("attributes stand in braces")
    call = ast.parse(f"f({inner[1:-1]})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
