"""Lowering of matrices and what is fused to them: embedding, linear, gated activations."""

from __future__ import annotations

from llmc.codegen.kernels.activation import Activation
from llmc.codegen.kernels.embed import Embed
from llmc.codegen.lower_rows import cap
from llmc.codegen.lowering import Lowering, c_float, columns, form_of, pad, rule
from llmc.ir.graph import Node, Value
from llmc.ir.ops import group_weights
from llmc.ir.types import DType


@rule("embedding")
def _embedding(p: Lowering, node: Node) -> None:
    ids, table = node.inputs
    fmt = table.type.dtype
    assert not isinstance(fmt, DType)
    k = columns(node.output)
    fn = p.kernel(Embed(fmt))
    scale = c_float(node.attrs.get("scale", 1.0))
    y, tokens = p.f32(node.output), p.tokens(node.output)
    p.call("llmc_op_embed", fn, p.weight(table), p.ids(ids), y, k, pad(k), scale, tokens)
    p.barrier()


@rule("linear")
def _linear(p: Lowering, node: Node) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    part = p.linear(node.inputs[0], node.inputs[1], bias, p.f32(node.output), pad(columns(node.output)))
    _launch(p, [part], node.inputs[0], node.attrs.get("scale", 1.0))
    if "softcap" in node.attrs:
        cap(p, node.output, node.attrs["softcap"])


@rule("linear_group")
def _linear_group(p: Lowering, node: Node) -> None:
    pairs = group_weights(node.inputs, node.attrs)
    parts = [p.linear(node.inputs[0], w, b, p.f32(y), pad(columns(y))) for (w, b), y in zip(pairs, node.outputs, strict=True)]
    _launch(p, parts, node.inputs[0], 1.0)


def _launch(p: Lowering, parts: list[str], x: Value, scale: float) -> None:
    p.call("llmc_op_linear", f"(const llmc_linear[]){{{', '.join(parts)}}}", len(parts), p.activations(x), c_float(scale))
    p.barrier()


@rule("linear_silu_mul", "linear_gelu_mul", "linear_gelu_erf_mul")
def _linear_gated(p: Lowering, node: Node) -> None:
    y, out = p.forms(node)
    n = int(node.outputs[0].type.shape[-1])
    pairs = group_weights(node.inputs, node.attrs)
    parts = [p.linear(node.inputs[0], w, b, f"F({at})", pad(n)) for (w, b), at in zip(pairs, node.attrs["scratch"], strict=True)]
    fn = p.kernel(Activation(_function(node), gated=True, f32=y is not None, q8=form_of(out)))
    table = f"(const llmc_linear[]){{{', '.join(parts)}}}"
    p.call("llmc_op_linear_gated", table, p.activations(node.inputs[0]), fn, p.f32(y) if y else "NULL", pad(n), p.q8(out))
    p.barrier()


@rule("silu_mul", "sigmoid_mul", "gelu_mul", "gelu_erf_mul", "gelu", "gelu_erf", "relu2", "relu", "xielu")
def _activation(p: Lowering, node: Node) -> None:
    x, *up = node.inputs
    y, out = p.forms(node)
    n = pad(columns(x))
    fn = p.kernel(Activation(_function(node), gated=node.op.endswith("_mul"), f32=y is not None, q8=form_of(out)))
    factor = p.f32(up[0]) if up else "NULL"
    p.call("llmc_op_activation", fn, p.f32(x), factor, p.f32(y) if y else "NULL", p.q8(out), n, n, n, n, p.tokens(x))
    p.barrier()


def _function(node: Node) -> str:
    """silu, gelu: what `linear_silu_mul` and the like are named after."""
    return node.op.removeprefix("linear_").removesuffix("_mul")
