"""Lowering of rows that layers carry along, and of what is left of arithmetic on rows: runtime/src/ops_streams.h."""

from __future__ import annotations

from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node


@rule("mix_rows")
def _mix_rows(p: Lowering, node: Node) -> None:
    coefficients, base, *streams = node.inputs
    rows = f"(const float *[]){{{', '.join(map(p.f32, streams))}}}"
    first = f"{p.f32(coefficients)} + {node.attrs['first']}"
    sizes = pad(columns(coefficients)), c_float(node.attrs.get("plus", 0.0))
    p.call(
        "llmc_op_mix_rows", first, *sizes, p.f32(base), rows, len(streams), p.f32(node.output), pad(columns(base)), p.tokens(base)
    )
    p.barrier()


@rule("match_magnitude")
def _match_magnitude(p: Lowering, node: Node) -> None:
    x, like = node.inputs
    p.in_place(x, node.output)
    n = columns(x)
    p.call("llmc_op_match_magnitude", p.f32(node.output), p.f32(like), n, pad(n), c_float(node.attrs["least"]), p.tokens(x))
    p.barrier()


@rule("sparsify")
def _sparsify(p: Lowering, node: Node) -> None:
    x = node.inputs[0]
    p.in_place(x, node.output)
    n = columns(x)
    p.call("llmc_op_sparsify", p.f32(node.output), n, pad(n), c_float(node.attrs["deviations"]), p.tokens(x))
    p.barrier()


@rule("scale")
def _scale(p: Lowering, node: Node) -> None:
    x = node.inputs[0]
    p.in_place(x, node.output)
    p.call("llmc_op_scale", p.f32(node.output), c_float(node.attrs["factor"]), pad(columns(x)), p.tokens(x))
    p.barrier()


@rule("scale_by_id")
def _scale_by_id(p: Lowering, node: Node) -> None:
    x, ids, factors = node.inputs
    p.in_place(x, node.output)
    n = columns(x)
    p.call("llmc_op_scale_by_id", p.f32(node.output), p.i32(ids), p.vector(factors), n, pad(n), p.tokens(x))
    p.barrier()


@rule("known_ids")
def _known_ids(p: Lowering, node: Node) -> None:
    ids = p.ids(node.inputs[0])
    p.call("llmc_op_known_ids", ids, p.i32(node.output), node.attrs["count"], p.tokens(node.output))
    p.barrier()
