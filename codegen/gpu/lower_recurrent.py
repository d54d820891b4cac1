"""Lowering of recurrent layers: convolutions, scans, and the norms and slices around them."""

from __future__ import annotations

from llmc.codegen.gpu.kernels.causal_conv import GpuCausalConv
from llmc.codegen.gpu.kernels.elementwise import GpuSliceColumns
from llmc.codegen.gpu.kernels.gated_norm import GpuGatedNorm
from llmc.codegen.gpu.kernels.head_state import GpuDeltaRule, GpuSsd
from llmc.codegen.gpu.kernels.selective_scan import GpuSelectiveScan
from llmc.codegen.gpu.lower import _columns, _float, _ld, _Lowering, _rule
from llmc.codegen.kernels.causal_conv import CausalConv
from llmc.ir.graph import Node, Value


def _state(p: _Lowering, node: Node) -> tuple[str, ...]:
    """The arguments that kernels/states.py names: slots are the group of pages after those of keys and values."""
    assert p.recurrent is not None
    group = len(p.caches)
    place = f"s->pools[{group}] + UINT64_C({p.recurrent.offset(node)})"
    return place, f"s->tables[{group}]", "s->starts", "s->table_stride", f"INT64_C({p.recurrent.slot_bytes})"


@_rule("causal_conv", attrs="layer function")
def _causal_conv(p: _Lowering, node: Node) -> None:
    _, x, taps, *bias = node.inputs
    _convolve(p, node, x, taps, bias, node.attrs.get("function", ""), [])


@_rule("gated_conv", attrs="layer")
def _gated_conv(p: _Lowering, node: Node) -> None:
    _, before, after, x, taps, *bias = node.inputs
    _convolve(p, node, x, taps, bias, "", [before, after])


def _convolve(p: _Lowering, node: Node, x: Value, taps: Value, bias: list[Value], function: str, gates: list[Value]) -> None:
    spec = GpuCausalConv(CausalConv(_columns(taps), function, gated=bool(gates)), bool(bias))
    before, after = map(p.f32, gates) if gates else ("0", "0")
    weights = p.vector(taps), p.vector(bias[0] if bias else None)
    p.launch(spec, p.f32(x), before, after, *weights, p.f32(node.outputs[0]), *_state(p, node), _ld(x), "s->n_seqs")


@_rule("ssd", attrs="layer heads head_dim groups state dt_min dt_max")
def _ssd(p: _Lowering, node: Node) -> None:
    _, x, dt, bias, a, d = node.inputs
    n, y = node.attrs, node.outputs[0]
    sizes = n["heads"], n["groups"], _ld(x), _ld(dt), _ld(y), _float(n["dt_min"]), _float(n["dt_max"])
    rows, vectors = map(p.f32, (x, dt)), map(p.vector, (bias, a, d))
    p.launch(GpuSsd(n["head_dim"], n["state"]), *rows, *vectors, p.f32(y), *_state(p, node), *sizes, "s->n_seqs")


@_rule("delta_rule", attrs="layer heads key_heads key_dim value_dim key_order")
def _delta_rule(p: _Lowering, node: Node) -> None:
    _, x, dt, beta, bias, a = node.inputs
    n, y = node.attrs, node.outputs[0]
    spec = GpuDeltaRule(n["key_dim"], n["value_dim"], n["key_order"] == "tiled")
    rows, vectors = map(p.f32, (x, dt, beta)), map(p.vector, (bias, a))
    sizes = n["heads"], n["key_heads"], _ld(x), _ld(dt), _ld(y)
    p.launch(spec, *rows, *vectors, p.f32(y), *_state(p, node), *sizes, "s->n_seqs")


@_rule("selective_scan", attrs="layer")
def _selective_scan(p: _Lowering, node: Node) -> None:
    _, x, dt, b, c, a, d = node.inputs
    rows, vectors = map(p.f32, (x, dt, b, c)), map(p.vector, (a, d))
    y = p.f32(node.outputs[0])
    p.launch(GpuSelectiveScan(_columns(b)), *rows, *vectors, y, *_state(p, node), _ld(x), _ld(b), "s->n_seqs")


@_rule("gated_norm", attrs="groups gate eps")
def _gated_norm(p: _Lowering, node: Node) -> None:
    x, z, weight = node.inputs
    p.in_place(x, node.output)
    groups = node.attrs["groups"]
    d = _columns(x) // groups
    stride = 0 if weight.type.shape == (d,) else d
    pointers = p.f32(node.output), p.f32(z), p.vector(weight)
    p.launch(GpuGatedNorm(d, node.attrs["gate"]), *pointers, groups, stride, _ld(x), _float(node.attrs["eps"]), p.tokens(x))


@_rule("slice_columns", attrs="start width stride count")
def _slice_columns(p: _Lowering, node: Node) -> None:
    (x,), n, y = node.inputs, node.attrs, node.output
    pieces = n["start"], n["width"], n["stride"], n["count"]
    p.launch(GpuSliceColumns(), p.f32(x), p.f32(y), *pieces, _ld(x), _ld(y), p.tokens(x))
