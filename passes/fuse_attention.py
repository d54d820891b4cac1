"""Attention as one op, so that scores never reach memory."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Node, Uses
from llmc.passes.base import graph_pass


@graph_pass
def fuse_attention(graph: Graph) -> Graph:
    """attention_values(softmax_causal(attention_scores(q, kv), positions), kv) -> attention(q, kv, positions), sinks included.

    Scores and probabilities [T, H, S] must have no other user; keys and values must be of the same cache and layer. The kernel
    computes the softmax page by page (Milakov & Gimelshein, arXiv:1805.02867), so memory does not grow with the context.
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("attention_values"):
        softmax = _sole_producer(uses, node, "softmax_causal")
        scores = _sole_producer(uses, softmax, "attention_scores") if softmax else None
        if scores and softmax and _same_cache(scores, node):
            edit.replace(node, "attention", (*scores.inputs, *softmax.inputs[1:]), **scores.attrs, **softmax.attrs)
            edit.drop(softmax, scores)
    return edit.graph()


def _sole_producer(uses: Uses, node: Node, op: str) -> Node | None:
    """The maker of the first operand, if it is an `op` with no other user."""
    value = node.inputs[0]
    return uses.made_by(value, op) if uses.only_user(value) is node else None


def _same_cache(scores: Node, values: Node) -> bool:
    same_heads = all(scores.attrs[name] == values.attrs[name] for name in ("layer", "heads", "kv_heads", "head_dim"))
    return same_heads and scores.inputs[1] == values.inputs[1]
