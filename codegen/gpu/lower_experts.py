"""Lowering of mixtures of experts: the router, and the two ways through its experts (kernels/experts.py)."""

from __future__ import annotations

from llmc.codegen.gpu.kernels.expert_sort import GpuExpertSort, GpuExpertTiles
from llmc.codegen.gpu.kernels.experts import WIDTH, GpuExpertLinear, GpuExpertSum
from llmc.codegen.gpu.kernels.router import GpuRouter
from llmc.codegen.gpu.lower import _columns, _float, _format, _ld, _Lowering, _rule
from llmc.codegen.kernels.router import Router
from llmc.codegen.plan import NoKernelError
from llmc.ir.graph import Node
from llmc.ir.storage import TILE, align


@_rule("router", attrs="gate normalize used scale groups jitter")
def _router(p: _Lowering, node: Node) -> None:
    (logits, *bias), (ids, weights), a = node.inputs, node.outputs, node.attrs
    groups, groups_used, best = a.get("groups", (0, 0, 0))
    how = Router(a["gate"], a["normalize"], biased=bool(bias), best_of_group=best)
    p.launch(
        GpuRouter(how, _columns(logits)),
        p.f32(logits), p.vector(bias[0] if bias else None), p.f32(ids), p.f32(weights), a["used"], groups, groups_used,
        _ld(logits), _ld(ids), _float(a.get("scale", 1.0)), _float(a.get("jitter", 0.0)), p.tokens(logits),
    )  # fmt: skip


@_rule("experts", attrs="forms function")
def _experts(p: _Lowering, node: Node) -> None:
    """Few pairs go one by one; as many as there are experts, or more, are sorted, and a matrix serves all pairs of its expert."""
    if node.attrs.get("forms", ("f32", "f32")) != ("f32", "f32"):
        raise NoKernelError("op experts quantises what is between its products, which GPU kernels do not")
    count, used, tokens = int(node.inputs[3].type.shape[0]), _columns(node.inputs[1]), p.tokens(node.inputs[0])
    one_by_one, sorted_ = p.branches(lambda: _pairs(p, node, 1), lambda: _pairs(p, node, WIDTH))
    p.plan.statements.append(
        f"{{ int32_t pairs = {tokens} * {used}; "
        f"if (pairs < {count} || {tokens} == 1) {{ {one_by_one} }} else {{ "
        f"int32_t most = pairs < {count} ? pairs : {count}, token_tiles = (pairs + {WIDTH - 1} * most) / {WIDTH}; {sorted_} }} }}"
    )


def _pairs(p: _Lowering, node: Node, width: int) -> None:
    """The launches of one way through. The table holds first, count and tile_first of each expert, place and source of each pair.
    Gate and up are never there alone, so the list of tiles has the place of the one."""
    x, ids, weights, gate, up, down, *biases = node.inputs
    gate_bias, up_bias, down_bias = map(p.vector, biases or (None, None, None))
    experts, inner, hidden = map(int, gate.type.shape)
    used, tokens, function = _columns(ids), p.tokens(x), node.attrs.get("function", "silu")
    table, rows, tile_expert, _, gated = (f"s->arena + {at}" for at in node.attrs["scratch"])
    first, per_expert = table, 4 * experts
    counts, tile_first, place = (f"{table} + {n * per_expert}" for n in (1, 2, 3))
    source = f"{place} + UINT64_C(4) * (uint64_t)pairs"
    if width > 1:
        p.launch(GpuExpertSort(), p.f32(ids), first, counts, place, source, experts, used, _ld(ids), tokens)
        p.launch(GpuExpertTiles(experts), counts, tile_first, tile_expert, width, "token_tiles", tokens)
    sorting = (p.f32(ids), first, counts, source, tile_first, tile_expert)
    tiles = "pairs" if width == 1 else "token_tiles"
    biased = bool(biases)
    p.launch(
        GpuExpertLinear((_format(gate), _format(up)), width, biased, function),
        p.weight(gate), p.weight(up), p.f32(x), gate_bias, up_bias, gated, *sorting,
        hidden, align(inner, TILE) // TILE, _ld(x), align(inner, TILE), _ld(ids), used, tiles, tokens,
    )  # fmt: skip
    p.launch(
        GpuExpertLinear((_format(down),), width, biased),
        p.weight(down), "0", gated, down_bias, "0", rows, *sorting,
        inner, align(hidden, TILE) // TILE, align(inner, TILE), _ld(x), _ld(ids), used, tiles, tokens,
    )  # fmt: skip
    y = node.output
    p.launch(GpuExpertSum(width > 1), rows, place, p.f32(weights), p.f32(y), hidden, used, _ld(x), _ld(weights), _ld(y), tokens)
