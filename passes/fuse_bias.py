"""Adds the bias where the matrix product writes its result."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass


@graph_pass
def fuse_bias(graph: Graph) -> Graph:
    """add_bias(linear(x, W), b) -> linear(x, W, b), where the linear has no other user, bias, scale or cap.

    A linear is scale * (x @ W.T + bias), so a bias added after the scale stays outside. Saves a read and a write of [T, N].
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("add_bias"):
        y, bias = node.inputs
        linear = uses.made_by(y, "linear")
        if linear and uses.only_user(y) is node and len(linear.inputs) == 2 and not linear.attrs:
            edit.replace(node, "linear", (*linear.inputs, bias))
            edit.drop(linear)
    return edit.graph()
