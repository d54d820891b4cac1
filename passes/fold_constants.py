"""Computes at compile time what depends on constants only."""

from __future__ import annotations

import numpy as np

from llmc.ir.graph import Edit, Graph, Node
from llmc.ir.ops import CATALOGUE
from llmc.passes.base import graph_pass

ARITHMETIC = ("add", "mul", "div", "scale")
"""IEEE 754 fixes the bits of + - * /. What is transcendental differs between libraries and may not enter an artifact."""


@graph_pass
def fold_constants(graph: Graph) -> Graph:
    """op(constant, ...) -> constant, for + - * / alone.

    Computed in float32 as the op's reference does; the constant takes the name of the result it replaces.
    """
    edit = Edit(graph)
    known = {node.output.name: node for node in graph.of_kind("constant")}
    for node in graph.nodes:
        if node.op in ARITHMETIC and all(value.name in known for value in node.inputs):
            known[node.output.name] = folded = _fold(node, [known[value.name] for value in node.inputs])
            edit.swap(node, folded)
    return edit.graph()


def _fold(node: Node, constants: list[Node]) -> Node:
    with np.errstate(all="ignore"):
        (data,) = CATALOGUE[node.op].compute([c.data for c in constants], node.attrs)
    return Node("constant", (), node.outputs, {}, np.asarray(data, np.float32))
