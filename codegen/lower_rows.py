"""Lowering of ops on rows: norms, sums, quantising, scaling, gathering."""

from __future__ import annotations

from llmc.codegen.kernels.gate_rows import GateRows
from llmc.codegen.kernels.norm import Norm
from llmc.codegen.kernels.softcap import Softcap
from llmc.codegen.lowering import Lowering, c_float, columns, form_of, pad, rule
from llmc.ir.graph import Node, Value


@rule("rms_norm", "layer_norm")
def _plain_norm(p: Lowering, node: Node) -> None:
    x, *weights = node.inputs
    _norm(p, node, x, None, weights, skip=0)


@rule("add_rms_norm", "add_layer_norm")
def _add_norm(p: Lowering, node: Node) -> None:
    x, o, *weights = node.inputs
    p.in_place(x, node.outputs[0])
    _norm(p, node, node.outputs[0], o, weights, skip=1)


@rule("add")
def _add(p: Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _norm(p, node, node.output, node.inputs[1], [], skip=1, forms=False)


@rule("quantize")
def _quantize(p: Lowering, node: Node) -> None:
    _norm(p, node, node.inputs[0], None, [], skip=0, forms=False, q8=node.output)


def _norm(
    p: Lowering,
    node: Node,
    x: Value,
    o: Value | None,
    weights: list[Value],
    *,
    skip: int,
    forms: bool = True,
    q8: Value | None = None,
) -> None:
    """Every row-wise op around a norm is one kernel with parts left out. `weights`: of the norm, and its bias."""
    y, out = p.forms(node, skip) if forms else (None, q8)
    n = columns(x)
    kind = node.op.removeprefix("add_").removesuffix("_norm") if weights else ""
    fn = p.kernel(Norm(add=o is not None, norm=kind, f32=y is not None, q8=form_of(out)))
    weight, bias = map(p.vector, [*weights, None, None][:2])
    p.call(
        "llmc_op_norm", fn, p.f32(x), p.f32(o) if o else "NULL", weight, bias, p.f32(y) if y else "NULL", p.q8(out), n,
        pad(n), pad(n), pad(n), c_float(node.attrs.get("eps", 0.0)), c_float(node.attrs.get("alpha", 1.0)), p.tokens(x),
    )  # fmt: skip
    p.barrier()


@rule("softcap")
def _softcap(p: Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    cap(p, node.output, node.attrs["cap"])


def cap(p: Lowering, x: Value, limit: float) -> None:
    n = columns(x)
    p.call("llmc_op_softcap", p.kernel(Softcap()), p.f32(x), n, pad(n), c_float(limit), p.tokens(x))
    p.barrier()


@rule("gate_rows")
def _gate_rows(p: Lowering, node: Node) -> None:
    x, logits = node.inputs
    p.in_place(x, node.output)
    n = columns(x)
    p.call("llmc_op_gate_rows", p.kernel(GateRows()), p.f32(node.output), p.f32(logits), n, pad(n), pad(1), p.tokens(x))
    p.barrier()


@rule("clamp")
def _clamp(p: Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    n = columns(node.output)
    p.call("llmc_op_clamp", p.f32(node.output), n, pad(n), c_float(node.attrs["limit"]), p.tokens(node.output))
    p.barrier()


@rule("take_rows")
def _take_rows(p: Lowering, node: Node) -> None:
    x = node.inputs[0]
    p.call("llmc_op_take_rows", p.f32(x), "s->rows", p.f32(node.output), pad(columns(x)), "s->n_rows")
    p.barrier()


@rule("scale_columns")
def _scale_columns(p: Lowering, node: Node) -> None:
    x, factors, *bias = node.inputs
    p.in_place(x, node.output)
    n = columns(x)
    vectors = p.vector(factors), p.vector(bias[0] if bias else None)
    p.call("llmc_op_scale_columns", p.f32(node.output), *vectors, n, pad(n), p.tokens(x))
    p.barrier()


@rule("take_columns")
def _take_columns(p: Lowering, node: Node) -> None:
    x, order = node.inputs
    n = columns(x)
    indices = f"(const int32_t *){p.weight(order)}"
    p.call("llmc_op_take_columns", p.f32(x), indices, p.f32(node.output), n, pad(n), p.tokens(x))
    p.barrier()
