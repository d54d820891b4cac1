"""Gives every computed value a place in one arena, as small as the values alive at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.ops import CATALOGUE
from llmc.ir.storage import NOWHERE, last_uses, nbytes, scratch_types
from llmc.ir.types import CACHE
from llmc.passes.base import graph_pass

ROUNDS = 16
"""Orders to try at most. Over 232 random decoder shapes the live peak was reached in the fifth at the latest."""


@dataclass(eq=False)
class Buffer:
    """`size` bytes, needed by the nodes `start` to `end`, both included. Several values share one where ops work in place."""

    size: int
    start: int
    end: int
    offset: int = NOWHERE

    @property
    def top(self) -> int:
        return self.offset + self.size


@graph_pass
def plan_memory(graph: Graph) -> Graph:
    """Sets `at`, `scratch` and the graph's `arena` (see ir/storage.py): greedy best fit by offset over live intervals.

    An op marked `inplace` takes its operand's storage where the operand has no later use. Buffers are placed one by one, those of
    the fullest node first and large before small, each in the smallest gap between those that live at the same time (greedy by
    breadth in Pisarchyk & Lee, arXiv:2001.03288). Where that needs more than the live peak, what ended up too high goes first in another round.
    The cache and the results lie outside the arena.
    """
    homes, scratch = _buffers(graph)
    nowhere = Buffer(0, 0, 0)
    every = [*dict.fromkeys(homes.values()), *(buffer for pair in scratch.values() for buffer in pair)]
    arena = _place(every, len(graph.nodes))
    nodes = []
    for i, node in enumerate(graph.nodes):
        if node.op not in SOURCES:
            node = node.with_attrs(at=tuple(homes.get(value.name, nowhere).offset for value in node.outputs))
        nodes.append(node.with_attrs(scratch=tuple(b.offset for b in scratch[i])) if i in scratch else node)
    return Graph(tuple(nodes), graph.results, graph.bounds, {**graph.attrs, "arena": arena})


def _buffers(graph: Graph) -> tuple[dict[str, Buffer], dict[int, list[Buffer]]]:
    """The buffer of each value in the arena, by name, and the scratch buffers of each node, by index."""
    last = last_uses(graph)
    outside = {value.name for value in graph.results}
    homes: dict[str, Buffer] = {}
    scratch: dict[int, list[Buffer]] = {}
    for i, node in enumerate(graph.nodes):
        if node.op in SOURCES:
            continue
        for n, value in enumerate(node.outputs):
            if value.type == CACHE or value.name in outside:
                continue
            taken = _taken_over(node, n, value, last, i)
            buffer = homes.get(taken) if taken else None
            homes[value.name] = buffer = buffer or Buffer(nbytes(value.type, graph.bounds), i, i)
            buffer.end = last[value.name]
        if types := scratch_types(node):
            scratch[i] = [Buffer(nbytes(type, graph.bounds), i, i) for type in types]
    return homes, scratch


def _taken_over(node: Node, output: int, value: Value, last: dict[str, int], i: int) -> str | None:
    """The operand whose storage an output may take: the op says so and nobody needs it later."""
    operand = CATALOGUE[node.op].inplace.get(output)
    if operand is None:
        return None
    old = node.inputs[operand]
    return old.name if last[old.name] == i and old.type == value.type else None


def _place(buffers: Sequence[Buffer], nodes: int) -> int:
    """Sets every offset and returns the bytes of the arena: the live peak if one of the orders tried reaches it."""
    live = _live_bytes(buffers, nodes)
    peak = max(live)
    order = sorted(buffers, key=lambda b: (-max(live[b.start : b.end + 1]), -b.size, b.start))
    tried = []
    for _ in range(ROUNDS):
        tried.append((_place_in_order(order, nodes), [buffer.offset for buffer in buffers]))
        high = [buffer for buffer in order if buffer.top > peak]
        if not high:
            break
        order = high + [buffer for buffer in order if buffer.top <= peak]
    arena, offsets = min(tried)
    for buffer, offset in zip(buffers, offsets, strict=True):
        buffer.offset = offset
    return arena


def _live_bytes(buffers: Sequence[Buffer], nodes: int) -> list[int]:
    """Bytes of the buffers alive at each node."""
    change = [0] * (nodes + 1)
    for buffer in buffers:
        change[buffer.start] += buffer.size
        change[buffer.end + 1] -= buffer.size
    return list(accumulate(change))


def _place_in_order(order: Sequence[Buffer], nodes: int) -> int:
    """Puts each buffer where it fits best among those placed; returns the top of the highest.

    Compares only buffers alive at the same nodes, so the time grows with the nodes as long as few live long.
    """
    alive: list[list[Buffer]] = [[] for _ in range(nodes)]
    for buffer in order:
        span = range(buffer.start, buffer.end + 1)
        others = {other: None for i in span for other in alive[i]}
        buffer.offset = _best_gap(buffer.size, sorted(others, key=lambda b: b.offset))
        for i in span:
            alive[i].append(buffer)
    return max((buffer.top for buffer in order), default=0)


def _best_gap(size: int, placed: Sequence[Buffer]) -> int:
    """Start of the smallest gap of at least `size` bytes between buffers sorted by offset, or the end of the last."""
    best, best_gap, free = -1, 0, 0
    for other in placed:
        gap = other.offset - free
        if gap >= size and (best < 0 or gap < best_gap):
            best, best_gap = free, gap
        free = max(free, other.top)
    return free if best < 0 else best
