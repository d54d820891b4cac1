"""What recurrent layers keep of a sequence: one slot, in which every state has its place."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from llmc.ir.graph import Graph, Node
from llmc.ir.ops_recurrent import STATEFUL, state_bytes


@dataclass(frozen=True)
class States:
    """`offsets`: the first byte of a state in the slot, by op and layer. `layers`: how many have one. Sizes in bytes."""

    offsets: dict[tuple[str, int], int]
    layers: int
    slot_bytes: int

    @staticmethod
    def of(graph: Graph) -> States | None:
        """None for a graph without recurrent layers."""
        nodes = [node for node in graph.nodes if node.op in STATEFUL]
        if not nodes:
            return None
        ends = [*accumulate(map(state_bytes, nodes))]
        starts = [0, *ends[:-1]]
        offsets = {(node.op, int(node.attrs["layer"])): at for node, at in zip(nodes, starts, strict=True)}
        assert len(offsets) == len(nodes), "two states of one op in a layer"
        return States(offsets, len({layer for _, layer in offsets}), ends[-1])

    def offset(self, node: Node) -> int:
        return self.offsets[node.op, node.attrs["layer"]]
