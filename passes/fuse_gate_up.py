"""The gated half of a feed-forward block as one op."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Node, Uses, Value
from llmc.ir.ops import group_linears
from llmc.passes.base import graph_pass


@graph_pass
def fuse_gate_up(graph: Graph) -> Graph:
    """silu_mul(linear(x, G), linear(x, U)) -> linear_silu_mul(x, G, U), where both linears have no scale, cap or other user.

    So for gelu_mul and gelu_erf_mul.

    One launch instead of three. Both linears read one x. The weights stay two and may differ in format.
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in (node for node in graph.nodes if node.op in ("silu_mul", "gelu_mul", "gelu_erf_mul")):
        parts = [linear for value in node.inputs if (linear := _sole_linear(uses, value, node))]
        if len(parts) == 2 and parts[0].inputs[0] == parts[1].inputs[0]:
            inputs, biases = group_linears([part.inputs for part in parts])
            edit.replace(node, f"linear_{node.op}", inputs, **node.attrs, biases=biases)
            edit.drop(*parts)
    return edit.graph()


def _sole_linear(uses: Uses, value: Value, user: Node) -> Node | None:
    linear = uses.made_by(value, "linear")
    return linear if linear and uses.only_user(value) is user and not linear.attrs.keys() & {"scale", "softcap"} else None
