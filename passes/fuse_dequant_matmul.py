"""Lets the matrix product read the stored weight."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass


@graph_pass
def fuse_dequant_matmul(graph: Graph) -> Graph:
    """matmul(x, dequantize(W)) -> linear(x, W).

    The [N, K] float32 matrix never exists: kernels dequantise in registers. A dequantize that nobody uses any more is dropped.
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("matmul"):
        x, matrix = node.inputs
        if weight := uses.made_by(matrix, "dequantize"):
            edit.replace(node, "linear", (x, weight.inputs[0]))
    for node in graph.of_kind("dequantize"):
        if all(user is not None and edit.touched(user) and user.inputs[0] != node.output for user in uses.users(node.output)):
            edit.drop(node)
    return edit.graph()
