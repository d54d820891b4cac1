"""Lowering of recurrent layers: the ops of runtime/src/ops_state.h."""

from __future__ import annotations

from llmc.codegen.kernels.causal_conv import CausalConv
from llmc.codegen.kernels.delta_rule import DeltaRule
from llmc.codegen.kernels.gated_norm import GatedNorm
from llmc.codegen.kernels.selective_scan import SelectiveScan
from llmc.codegen.kernels.ssd import Ssd
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node, Value


@rule("causal_conv")
def _causal_conv(p: Lowering, node: Node) -> None:
    _, x, taps, *bias = node.inputs
    _convolve(p, node, x, taps, bias, node.attrs.get("function", ""), [])


@rule("gated_conv")
def _gated_conv(p: Lowering, node: Node) -> None:
    _, before, after, x, taps, *bias = node.inputs
    _convolve(p, node, x, taps, bias, "", [before, after])


def _convolve(p: Lowering, node: Node, x: Value, taps: Value, bias: list[Value], function: str, gates: list[Value]) -> None:
    fn = p.kernel(CausalConv(columns(taps), function, gated=bool(gates)))
    before, after = map(p.f32, gates) if gates else ("NULL", "NULL")
    weights = p.vector(taps), p.vector(bias[0] if bias else None)
    y, ld = p.f32(node.outputs[0]), pad(columns(x))
    p.call("llmc_op_causal_conv", "s", fn, p.layer_state(node), p.f32(x), before, after, *weights, y, ld)
    p.barrier()


@rule("ssd")
def _ssd(p: Lowering, node: Node) -> None:
    _, x, dt, bias, a, d = node.inputs
    n = node.attrs
    fn = p.kernel(Ssd(n["head_dim"], n["state"]))
    sizes = n["heads"], n["head_dim"], n["groups"], n["state"], c_float(n["dt_min"]), c_float(n["dt_max"])
    shape = f"(llmc_ssd_shape){{{', '.join(map(str, sizes))}}}"
    vectors = map(p.vector, (bias, a, d))
    p.call("llmc_op_ssd", "s", fn, p.layer_state(node), shape, p.f32(x), p.f32(dt), *vectors, p.f32(node.outputs[0]))
    p.barrier()


@rule("delta_rule")
def _delta_rule(p: Lowering, node: Node) -> None:
    _, x, dt, beta, bias, a = node.inputs
    n = node.attrs
    fn = p.kernel(DeltaRule(n["key_dim"], n["value_dim"]))
    sizes = n["heads"], n["key_heads"], n["key_dim"], n["value_dim"], int(n["key_order"] == "tiled")
    shape = f"(llmc_delta_shape){{{', '.join(map(str, sizes))}}}"
    rows, vectors = map(p.f32, (x, dt, beta)), map(p.vector, (bias, a))
    p.call("llmc_op_delta_rule", "s", fn, p.layer_state(node), shape, *rows, *vectors, p.f32(node.outputs[0]))
    p.barrier()


@rule("selective_scan")
def _selective_scan(p: Lowering, node: Node) -> None:
    _, x, dt, b, c, a, d = node.inputs
    fn, rows = p.kernel(SelectiveScan(columns(b))), map(p.f32, (x, dt, b, c))
    y, lds = p.f32(node.outputs[0]), (pad(columns(x)), pad(columns(b)))
    p.call("llmc_op_selective_scan", "s", fn, p.layer_state(node), *rows, p.vector(a), p.vector(d), y, *lds)
    p.barrier()


@rule("gated_norm")
def _gated_norm(p: Lowering, node: Node) -> None:
    x, z, weight = node.inputs
    p.in_place(x, node.output)
    groups, ld, eps = node.attrs["groups"], pad(columns(x)), c_float(node.attrs["eps"])
    d = columns(x) // groups
    stride = 0 if weight.type.shape == (d,) else d
    fn, pointers = p.kernel(GatedNorm(d, node.attrs["gate"])), (p.f32(node.output), p.f32(z), p.vector(weight))
    p.call("llmc_op_gated_norm", fn, *pointers, groups, stride, ld, eps, p.tokens(x))
    p.barrier()


@rule("slice_columns")
def _slice_columns(p: Lowering, node: Node) -> None:
    (x,), n, y = node.inputs, node.attrs, node.output
    pieces = n["start"], n["width"], n["stride"], n["count"]
    p.call("llmc_op_slice_columns", p.f32(x), p.f32(y), *pieces, pad(columns(x)), pad(columns(y)), p.tokens(x))
    p.barrier()
