"""Where the values of a planned graph lie: their size in the arena, how long they live, and the check that none is overwritten.

The arena is one block of memory that holds every computed value while it is needed. A plan is the attribute `at` of each
computing node (bytes from the start of the arena, one per output, -1 for a value that lies elsewhere: the cache and the results),
`scratch` where a kernel needs room of its own, and the graph attribute `arena` (bytes in all).

Sizes are those of the largest step (the graph's bounds), with rows and float32 columns padded to 16, as kernels write them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from llmc.errors import UsageError
from llmc.ir.graph import SOURCES, Graph, Node
from llmc.ir.ops import CATALOGUE
from llmc.ir.types import CACHE, ITEM_BYTES, SCALE_COLUMNS, Dim, DType, TensorType, f32, i32

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
TILE = 16  # rows and columns of a register tile
GROUP = 32  # columns of a q8 value to a scale; those of q8_256 are written as often
NOWHERE = -1
GATED = ("linear_silu_mul", "linear_gelu_mul", "linear_gelu_erf_mul")


class StorageError(ValueError):
    """A plan in which two values that are needed at the same time overlap, or one leaves the arena."""


def align(n: int, to: int = ALIGNMENT) -> int:
    return -(-n // to) * to


@dataclass(frozen=True)
class Q8Storage:
    """Where the three arrays of a quantised value [T, K] start, in bytes from its own start.

    At 0 the int8 codes, T*K; at `scales` f32, T*K/32; at `sums` i32, T*2*K/32. Tokens are tiled inside as kernels like it.
    """

    scales: int
    sums: int
    nbytes: int


def q8_storage(type: TensorType, bounds: Mapping[str, int]) -> Q8Storage:
    """type q8[T, K] or q8_256[T, K]; T is padded to 16 tokens."""
    tokens, columns = _rows(type, bounds), _bound(type.shape[-1], bounds)
    scales = align(tokens * columns)
    sums = scales + align(tokens * (columns // GROUP) * 4)
    return Q8Storage(scales, sums, sums + align(tokens * (columns // GROUP) * 2 * 4))


def nbytes(type: TensorType, bounds: Mapping[str, int]) -> int:
    """Bytes of a value in the arena, a multiple of ALIGNMENT. Raises UsageError for a dimension without a bound."""
    if type.dtype in SCALE_COLUMNS:
        return q8_storage(type, bounds).nbytes
    assert isinstance(type.dtype, DType), type
    return align(_rows(type, bounds) * align(_bound(type.shape[-1], bounds), TILE) * ITEM_BYTES[type.dtype])


def scratch_types(node: Node, bounds: Mapping[str, int]) -> tuple[TensorType, ...]:
    """What a kernel needs besides its operands, while it runs: gate and up of a gated product, before they are combined."""
    if node.op == "experts":
        return _expert_scratch(node, bounds)
    if node.op == "ungated_experts":
        table, rows, _, activated, gated = _expert_scratch(node, bounds)
        return table, rows, activated, gated
    if node.op == "router":
        return _router_scratch(node)
    return (f32(*node.outputs[0].type.shape),) * 2 if node.op in GATED else ()


def _router_scratch(node: Node) -> tuple[TensorType, ...]:
    """Of a `router` with a bias or groups: what experts are chosen by, and the groups."""
    groups = int(node.attrs["groups"][0]) if "groups" in node.attrs else 0
    tokens, experts = node.inputs[0].type.shape
    return (f32(tokens, int(experts) + groups),) if groups or len(node.inputs) > 1 else ()


def expert_rows(slots: int, experts: int) -> int:
    """Rows that hold `slots` (token, expert) pairs expert by expert: a group of c pairs is padded by less than c, at most 15."""
    return align(slots + min(slots, (TILE - 1) * experts), TILE)


def _expert_scratch(node: Node, bounds: Mapping[str, int]) -> tuple[TensorType, ...]:
    """Of `experts`: the groups' table (runtime/src/ops_experts.h), rows of x and later of the result, gate, up, their product."""
    ids, gate = node.inputs[1].type, node.inputs[3].type
    experts, intermediate, hidden = map(int, gate.shape)
    slots = _bound(ids.shape[0], bounds) * int(ids.shape[1])
    rows = expert_rows(slots, experts)
    table = i32(align(1 + 3 * experts + rows + slots, TILE) // TILE, TILE)
    gated = TensorType(DType(node.attrs.get("forms", ("f32", "f32"))[1]), (rows, intermediate))
    return table, f32(rows, hidden), f32(rows, intermediate), f32(rows, intermediate), gated


def last_uses(graph: Graph) -> dict[str, int]:
    """Index of the last node that uses each value; its own index for a value nobody uses, len(nodes) for a result."""
    last = {value.name: i for i, node in enumerate(graph.nodes) for value in node.outputs}
    last.update((value.name, i) for i, node in enumerate(graph.nodes) for value in node.inputs)
    last.update((value.name, len(graph.nodes)) for value in graph.results)
    return last


def check_plan(graph: Graph) -> None:
    """Raises StorageError, naming the values, unless each stays untouched in the arena from its definition to its last use."""
    last = last_uses(graph)
    live: dict[str, tuple[int, int]] = {}  # value -> first byte, byte after the last
    for i, node in enumerate(graph.nodes):
        if node.op in SOURCES:
            continue
        for name in _overwritten(node, live, last, i):
            del live[name]
        for name, start, end in _placed(node, graph):
            _check_place(name, start, end, live, graph.attrs["arena"])
            live[name] = (start, end)
        live = {name: place for name, place in live.items() if last.get(name, i) > i}


def _overwritten(node: Node, live: Mapping[str, tuple[int, int]], last: Mapping[str, int], i: int) -> list[str]:
    """Operands whose storage an output may take, by the op's `inplace`, and does."""
    names = []
    for output, operand in CATALOGUE[node.op].inplace.items():
        name = node.inputs[operand].name
        if name in live and last[name] == i and live[name][0] == node.attrs["at"][output]:
            names.append(name)
    return names


def _placed(node: Node, graph: Graph) -> list[tuple[str, int, int]]:
    """(name, first byte, byte after the last) of the outputs and scratch buffers of a node."""
    at, scratch = node.attrs.get("at", ()), node.attrs.get("scratch", ())
    types = scratch_types(node, graph.bounds)
    if len(at) != len(node.outputs) or len(scratch) != len(types):
        raise StorageError(f"{node.op} {node.outputs[0]} has {len(at)} places and {len(scratch)} scratch buffers")
    results = {value.name for value in graph.results}
    for value, offset in zip(node.outputs, at, strict=True):
        if (offset == NOWHERE) != (value.type == CACHE or value.name in results):
            raise StorageError(f"{value} lies at {offset}")
    named = [(v.name, v.type, o) for v, o in zip(node.outputs, at, strict=True) if o != NOWHERE]
    named += [(f"{node.outputs[0].name}!{n}", t, o) for n, (t, o) in enumerate(zip(types, scratch, strict=True))]
    return [(name, offset, offset + nbytes(type, graph.bounds)) for name, type, offset in named]


def _check_place(name: str, start: int, end: int, live: Mapping[str, tuple[int, int]], arena: int) -> None:
    if start < 0 or start % ALIGNMENT or end > arena:
        raise StorageError(f"%{name} takes bytes {start} to {end} of an arena of {arena}")
    for other, (other_start, other_end) in live.items():
        if start < other_end and other_start < end:
            raise StorageError(f"%{name} at {start} overlaps %{other} at {other_start}, which is still needed")


def _rows(type: TensorType, bounds: Mapping[str, int]) -> int:
    return align(math.prod(_bound(dim, bounds) for dim in type.shape[:-1]), TILE)


def _bound(dim: Dim, bounds: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    if dim not in bounds:
        message = f"memory for dimension {dim} cannot be planned: it has no bound"
        raise UsageError(message, hint="was a pass that removes it left out?")
    return bounds[dim]
