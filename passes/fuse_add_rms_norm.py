"""The residual addition and the norm after it as one op."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass

NORMS = ("rms_norm", "layer_norm")


@graph_pass
def fuse_add_rms_norm(graph: Graph) -> Graph:
    """s = add(x, o); n = rms_norm(s, w) -> s, n = add_rms_norm(x, o, w), which stands where the addition stood. layer_norm too.

    The sum keeps its other users (it is the residual stream). Of several norms of one sum the first is fused. The norm's weights
    must not be computed. Saves a read of [T, C].
    """
    edit, uses = Edit(graph), Uses(graph)
    for norm in (node for node in graph.nodes if node.op in NORMS):
        total, *weights = norm.inputs
        add = uses.made_by(total, "add")
        if add and all(map(uses.is_source, weights)) and not edit.touched(add):
            edit.replace(add, f"add_{norm.op}", (*add.inputs, *weights), (total, *norm.outputs), **add.attrs, **norm.attrs)
            edit.drop(norm)
    return edit.graph()
