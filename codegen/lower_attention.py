"""Lowering of attention over keys and values: rotation, the paged cache, attention itself."""

from __future__ import annotations

from llmc.codegen.kernels.attention import Attention
from llmc.codegen.kernels.kv_append import KvAppend
from llmc.codegen.kernels.norm import HeadNorm
from llmc.codegen.kernels.rope import Rope, RopeTable
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node, Value


@rule("head_norm", "head_layer_norm")
def _head_norm(p: Lowering, node: Node) -> None:
    x, weight = node.inputs
    p.in_place(x, node.output)
    fn = p.kernel(HeadNorm(int(weight.type.shape[-1]), "layer" if node.op == "head_layer_norm" else "rms"))
    heads, eps = node.attrs["heads"], c_float(node.attrs["eps"])
    p.call("llmc_op_head_norm", fn, p.f32(node.output), p.vector(weight), heads, pad(columns(x)), eps, p.tokens(x))
    p.barrier()


@rule("rope_table")
def _rope_table(p: Lowering, node: Node) -> None:
    half = columns(node.output) // 2
    freqs, scale = p.f32(node.inputs[1]), c_float(node.attrs.get("scale", 1.0))
    if len(node.inputs) > 2:
        freqs = f"s->context > {node.attrs['original_context']} ? {p.f32(node.inputs[2])} : {freqs}"
    table, tokens = p.f32(node.output), p.tokens(node.output)
    p.call("llmc_op_rope_table", p.kernel(RopeTable()), "s->positions", freqs, table, half, scale, tokens)
    p.barrier()


@rule("rope")
def _rope(p: Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _rotate(p, node, node.output, node.inputs[1])
    p.barrier()


def _rotate(p: Lowering, node: Node, x: Value, table: Value) -> None:
    heads = node.attrs["heads"]
    fn = p.kernel(Rope(columns(x) // heads, columns(table), node.attrs["style"]))
    p.call("llmc_op_rope", fn, p.f32(x), p.f32(table), heads, pad(columns(x)), p.tokens(x))


@rule("rope_kv_append")
def _rope_kv_append(p: Lowering, node: Node) -> None:
    q, k, v, table, _ = node.inputs
    p.in_place(q, node.outputs[0])
    _rotate(p, node, node.outputs[0], table)
    _append(p, node, k, v, table)


@rule("kv_append")
def _kv_append(p: Lowering, node: Node) -> None:
    _append(p, node, node.inputs[1], node.inputs[2], None)


def _append(p: Lowering, node: Node, k: Value, v: Value, table: Value | None) -> None:
    """`table` given: keys are rotated on their way into the cache."""
    d = node.attrs["head_dim"]
    style, rotated = (node.attrs["style"], columns(table)) if table else ("half", 0)
    fn = p.kernel(KvAppend(d, node.attrs["dtype"], rotated, style))
    rows = p.f32(table) if table else "NULL"
    p.call("llmc_op_kv_append", "s", fn, p.f32(k), p.f32(v), rows, p.layer_cache(node), pad(columns(k)), pad(columns(v)))
    p.barrier()


@rule("attention")
def _attention(p: Lowering, node: Node) -> None:
    a, (q, _, _, *of_heads) = node.attrs, node.inputs
    group = a["heads"] // a["kv_heads"]
    softcap, window = a.get("softcap", 0.0), a.get("window", 0)
    kind = ("slopes" if a.get("alibi") else "sinks") if of_heads else ""
    specs = Attention.variants(a["head_dim"], group, a["dtype"], window > 0, softcap > 0, kind, a.get("chunked", False))
    fns = p.kernel(*specs, member=specs[0].symbol)
    n = pad(columns(q))
    tile, o, scale = specs[1].tokens, p.f32(node.output), c_float(a["scale"])
    vector = p.vector(of_heads[0] if of_heads else None)
    p.call("llmc_op_attention", "s", fns, tile, p.f32(q), vector, o, p.layer_cache(node), n, n, scale, c_float(softcap), window)
    p.barrier()


@rule("scale_positions")
def _scale_positions(p: Lowering, node: Node) -> None:
    x, _, factors = node.inputs
    p.in_place(x, node.output)
    n, count = columns(x), int(factors.type.shape[0])
    of_position = node.attrs.get("offset", 0), node.attrs["length"]
    p.call("llmc_op_scale_positions", "s", p.f32(node.output), p.f32(factors), count, *of_position, n, pad(n))
    p.barrier()
