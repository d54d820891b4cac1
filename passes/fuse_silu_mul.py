"""SwiGLU's elementwise part as one op."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass

FUNCTIONS = ("silu", "gelu", "gelu_erf")


@graph_pass
def fuse_silu_mul(graph: Graph) -> Graph:
    """silu(gate) * up -> silu_mul(gate, up), on either side, where silu has no other user and is not a result; and so gelu.

    Saves one write and one read of [T, F].
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("mul"):
        for activated, up in (node.inputs, node.inputs[::-1]):
            maker = uses.producer[activated.name]
            if maker.op in FUNCTIONS and uses.only_user(activated) is node and not edit.touched(node):
                edit.replace(node, f"{maker.op}_mul", (maker.inputs[0], up))
                edit.drop(maker)
    return edit.graph()
