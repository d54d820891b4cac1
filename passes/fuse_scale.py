"""Multiplies by a constant where the operand is made, or where it is added to the residual stream."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Node, Uses
from llmc.passes.base import graph_pass

PRODUCERS = ("linear", "embedding")


@graph_pass
def fuse_scale(graph: Graph) -> Graph:
    """scale(linear(...)) and scale(embedding(...)) -> the same op with `scale`;  add(x, scale(o)) -> add(x, o) with `alpha`.

    The scaled or unscaled value must have no other user; a linear that caps takes no scale. Where both forms fit, the producer
    takes the factor.
    Saves a read and a write of [T, C].
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("scale"):
        maker = uses.producer[node.inputs[0].name]
        user = uses.only_user(node.output)
        if maker.op in PRODUCERS and uses.only_user(node.inputs[0]) is node and "softcap" not in maker.attrs:
            factor = node.attrs["factor"] * maker.attrs.get("scale", 1.0)
            edit.replace(node, maker.op, maker.inputs, **{**maker.attrs, "scale": factor})
            edit.drop(maker)
        elif user is not None and _adds_last(user, node):
            alpha = node.attrs["factor"] * user.attrs.get("alpha", 1.0)
            edit.replace(user, "add", (user.inputs[0], node.inputs[0]), **{**user.attrs, "alpha": alpha})
            edit.drop(node)
    return edit.graph()


def _adds_last(user: Node, scale: Node) -> bool:
    return user.op == "add" and user.inputs[1] == scale.output
