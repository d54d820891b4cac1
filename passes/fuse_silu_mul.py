"""SwiGLU's elementwise part as one op."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass


@graph_pass
def fuse_silu_mul(graph: Graph) -> Graph:
    """silu(gate) * up -> silu_mul(gate, up), on either side, where silu has no other user and is not a result.

    Saves one write and one read of [T, F].
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("mul"):
        for activated, up in (node.inputs, node.inputs[::-1]):
            silu = uses.made_by(activated, "silu")
            if silu and uses.only_user(activated) is node and not edit.touched(node):
                edit.replace(node, "silu_mul", (silu.inputs[0], up))
                edit.drop(silu)
    return edit.graph()
