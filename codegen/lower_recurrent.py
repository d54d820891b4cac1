"""Lowering of recurrent layers: the ops of runtime/src/ops_state.h."""

from __future__ import annotations

from llmc.codegen.kernels.causal_conv import CausalConv
from llmc.codegen.lower import _columns, _Lowering, _pad, _rule
from llmc.ir.graph import Node, Value


@_rule("causal_conv")
def _causal_conv(p: _Lowering, node: Node) -> None:
    _, x, taps, *bias = node.inputs
    _convolve(p, node, x, taps, bias, node.attrs.get("function", ""), [])


@_rule("gated_conv")
def _gated_conv(p: _Lowering, node: Node) -> None:
    _, before, after, x, taps, *bias = node.inputs
    _convolve(p, node, x, taps, bias, "", [before, after])


def _convolve(p: _Lowering, node: Node, x: Value, taps: Value, bias: list[Value], function: str, gates: list[Value]) -> None:
    fn = p.kernel(CausalConv(_columns(taps), function, gated=bool(gates)))
    before, after = map(p.f32, gates) if gates else ("NULL", "NULL")
    weights = p.vector(taps), p.vector(bias[0] if bias else None)
    y, ld = p.f32(node.outputs[0]), _pad(_columns(x))
    p.call("llmc_op_causal_conv", "s", fn, p.layer_state(node), p.f32(x), before, after, *weights, y, ld)
    p.barrier()
