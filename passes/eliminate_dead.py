"""Removes what no result depends on."""

from __future__ import annotations

from llmc.ir.graph import Graph
from llmc.passes.base import graph_pass


@graph_pass
def eliminate_dead(graph: Graph) -> Graph:
    """Nodes none of whose outputs is used are dropped, weights and constants too. Inputs stay: they are the step's signature."""
    used = {value.name for value in graph.results}
    kept = []
    for node in reversed(graph.nodes):
        if node.op == "input" or any(value.name in used for value in node.outputs):
            used.update(value.name for value in node.inputs)
            kept.append(node)
    return graph.with_nodes(reversed(kept))
