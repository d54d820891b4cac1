"""Caps logits where the output product wrote them."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass


@graph_pass
def fuse_softcap(graph: Graph) -> Graph:
    """softcap(linear(...)) -> linear(...) with `softcap`, where the linear has no other user.

    The logits [R, V] then need no second place: they are capped in the caller's memory.
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("softcap"):
        linear = uses.made_by(node.inputs[0], "linear")
        if linear and uses.only_user(node.inputs[0]) is node and "softcap" not in linear.attrs:
            edit.replace(node, "linear", linear.inputs, **linear.attrs, softcap=node.attrs["cap"])
            edit.drop(linear)
    return edit.graph()
