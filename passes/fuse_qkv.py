"""Matrix products of one input as one launch: queries, keys and values above all."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Node, Uses
from llmc.ir.ops import group_linears
from llmc.passes.base import graph_pass


@graph_pass
def fuse_qkv(graph: Graph) -> Graph:
    """linear(x, A), linear(x, B), ... -> linear_group(x, A, B, ...), where they have no scale, cap, computed weight or bias.

    The group stands where its first member stood. Weights are not concatenated: parts may differ in format (Q4_K_M keeps some
    values in Q6_K). One launch over all rows instead of one barrier per part.
    """
    edit, uses = Edit(graph), Uses(graph)
    by_input: dict[str, list[Node]] = {}
    for node in graph.of_kind("linear"):
        if not node.attrs.keys() & {"scale", "softcap"} and all(map(uses.is_source, node.inputs[1:])):
            by_input.setdefault(node.inputs[0].name, []).append(node)
    for parts in by_input.values():
        if len(parts) > 1:
            inputs, biases = group_linears([part.inputs for part in parts])
            edit.replace(parts[0], "linear_group", inputs, [part.output for part in parts], biases=biases)
            edit.drop(*parts[1:])
    return edit.graph()
