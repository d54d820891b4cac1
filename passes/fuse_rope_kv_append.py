"""Rotates queries and keys and stores keys and values in one op."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Node, Uses, Value
from llmc.passes.base import graph_pass


@graph_pass
def fuse_rope_kv_append(graph: Graph) -> Graph:
    """rope(q, t), rope(k, t), kv_append(kv, rotated k, v) -> rope_kv_append(q, k, v, t, kv), which stands where kv_append stood.

    The queries are those of the attention that reads the appended cache; they and the rotated keys must have no other user, and
    both must rotate by one table in one style, the queries before the append. Layers without rope keep kv_append.
    """
    edit, uses = Edit(graph), Uses(graph)
    order = {id(node): i for i, node in enumerate(graph.nodes)}
    for attention in (node for node in graph.nodes if node.op in ("attention", "attention_both")):
        append = uses.made_by(attention.inputs[1], "kv_append")
        q = _sole_rope(uses, attention.inputs[0], attention)
        k = append and _sole_rope(uses, append.inputs[1], append)
        if append and q and k and order[id(q)] < order[id(append)] and _rotate_alike(q, k):
            inputs = (q.inputs[0], k.inputs[0], append.inputs[2], q.inputs[1], append.inputs[0])
            attrs = {**append.attrs, "heads": q.attrs["heads"], "style": q.attrs["style"]}
            edit.replace(append, "rope_kv_append", inputs, (q.output, append.output), **attrs)
            edit.drop(q, k)
    return edit.graph()


def _sole_rope(uses: Uses, value: Value, user: Node) -> Node | None:
    return uses.made_by(value, "rope") if uses.only_user(value) is user else None


def _rotate_alike(q: Node, k: Node) -> bool:
    return q.inputs[1] == k.inputs[1] and q.attrs["style"] == k.attrs["style"]
