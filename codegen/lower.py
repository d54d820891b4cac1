"""Graph to plan: every node becomes one call of runtime/src/ops.h, and the kernels it needs join the plan's table.

The graph comes from passes/pipeline.py: fused, with weight layouts, cache types and arena offsets (`at`) chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from llmc.codegen.kernels.activation import Activation
from llmc.codegen.kernels.attention import Attention
from llmc.codegen.kernels.base import KernelSpec
from llmc.codegen.kernels.embed import Embed
from llmc.codegen.kernels.expert_sum import ExpertSum
from llmc.codegen.kernels.gate_rows import GateRows
from llmc.codegen.kernels.kv_append import KvAppend, layer_bytes
from llmc.codegen.kernels.linear import WIDTHS, Linear
from llmc.codegen.kernels.norm import HeadNorm, Norm
from llmc.codegen.kernels.rope import Rope, RopeTable
from llmc.codegen.kernels.router import Router
from llmc.codegen.kernels.softcap import Softcap
from llmc.codegen.sections import ALONE_COLUMNS, Op, Rows, statements, syncs
from llmc.codegen.states import States
from llmc.codegen.weights import WeightFile, place
from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.ops import group_weights
from llmc.ir.storage import TILE, align, q8_storage, scratch_types
from llmc.ir.tiles import packed_bytes
from llmc.ir.types import DType, Format, TensorType, q8

PAGED = {"kv_append": 2, "rope_kv_append": 2, "latent_append": 1}
"""Ops that append to the paged cache, and what they append for each head: a key and a value, or one vector for both."""


@dataclass(frozen=True)
class Cache:
    """Geometry of the paged cache: bytes of one layer of a page, of a page over all layers, and the stored type.

    layers: those that append to it; the others of a hybrid model have a state. parts: vectors of a head and position: a key and
    a value, or 1 where the value is the front of the key (latents)."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str
    parts: int = 2

    @property
    def layer_bytes(self) -> int:
        return layer_bytes(self.kv_heads, self.head_dim, self.dtype, self.parts)

    @property
    def page_bytes(self) -> int:
        return self.layers * self.layer_bytes


@dataclass
class Plan:
    """What the host template prints and the linker needs.

    cache      the paged group, number 0 where there is one; states: the group of states, the number after
    kernels    member of the kernel table -> its specs: one, or a row of variants
    constants  name -> f32 elements, printed exactly
    labels     what the ops are called in a profile, each once
    step_bytes bytes of weights that a step of one token reads; all experts count
    """

    weights: WeightFile
    cache: Cache | None
    states: States | None
    arena: int
    ops: list[Op] = field(default_factory=list)
    kernels: dict[str, tuple[KernelSpec, ...]] = field(default_factory=dict)
    constants: dict[str, list[float]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    step_bytes: int = 0

    @property
    def calls(self) -> int:
        """Kernel launches of one step."""
        return sum(len(op.calls) for op in self.ops)

    @property
    def statements(self) -> list[str]:
        """The step, in C."""
        return statements(self.ops)

    @property
    def syncs(self) -> int:
        """Barriers of a step of one token."""
        return syncs(self.ops)

    @property
    def specs(self) -> list[KernelSpec]:
        """Every kernel the plan calls, in the order of its first call."""
        return [spec for row in self.kernels.values() for spec in row]


class NoKernelError(ValueError):
    """An op without a kernel: the pass that removes it was left out (LLMC_PASSES), or the frontend made something new."""


def lower(graph: Graph) -> Plan:
    """The plan of a graph that has been through all passes. Raises NoKernelError naming the op."""
    lowering = _Lowering(graph)
    for node in graph.nodes:
        if node.op in SOURCES:
            continue
        if node.op not in _RULES:
            raise NoKernelError(f"op {node.op} has no kernel; LLMC_PASSES may have left out the pass that fuses it")
        lowering.node = node
        _RULES[node.op](lowering, node)
    read = {value.name for node in graph.nodes if node.op != "embedding" for value in node.inputs}
    lowering.plan.step_bytes = sum(region.nbytes for region in lowering.plan.weights.regions if region.name in read)
    return lowering.plan


def _label(node: Node) -> str:
    """The op and what it computes, the same in every layer: `linear ffn.down`."""
    name = node.outputs[0].name if node.outputs else ""
    return f"{node.op} {re.sub(r'[.][0-9]+', '', name)}"


_ROWS = {"T": "s->n_tokens", "R": "s->n_rows"}

# Functions of runtime/src/ops.h that share nothing but rows.
_BY_ROWS = {f"llmc_op_{name}" for name in (
    "activation", "causal_conv", "copy", "embed", "gate_rows", "gated_norm", "head_norm", "kv_append", "norm", "rope",
    "rope_table", "router", "scale_columns", "slice_columns", "softcap", "take_columns", "take_rows",
)}  # fmt: skip

_Rule = Callable[["_Lowering", Node], None]
_RULES: dict[str, _Rule] = {}


def _rule(*ops: str) -> Callable[[_Rule], _Rule]:
    def register(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(ops, rule))
        return rule

    return register


def _pad(n: int) -> int:
    """Columns between two f32 rows."""
    return align(n, TILE)


def _columns(value: Value) -> int:
    return int(value.type.shape[-1])


def _float(x: float) -> str:
    """A C literal of exactly this f32."""
    return f"{float(np.float32(x)).hex()}f"


class _Lowering:
    """C expressions for the values of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.plan = Plan(place(graph), cache_of(graph), States.of(graph), int(graph.attrs["arena"]))
        appends = [node for node in graph.nodes if node.op in PAGED]
        layers = dict.fromkeys(node.attrs["layer"] for node in appends)
        self.paged_layers = {layer: number for number, layer in enumerate(layers)}
        self.at: dict[str, int] = {}
        self.node = graph.nodes[0]
        self.calls: list[str] = []
        for node in graph.nodes:
            if node.op not in SOURCES:
                self.at.update((v.name, offset) for v, offset in zip(node.outputs, node.attrs["at"], strict=True))
        self.inputs = {node.output.name: node.output.name for node in graph.of_kind("input")}
        for node in graph.of_kind("constant"):
            assert node.data is not None
            padding = [0.0] * (-node.data.size % TILE)  # vectors are read in whole steps of 16
            self.plan.constants[_identifier(node.output.name)] = [float(x) for x in node.data.reshape(-1)] + padding
        self.constants = {node.output.name for node in graph.of_kind("constant")}

    def call(self, function: str, *args: object) -> None:
        """One call; barrier() ends the op it is part of."""
        self.calls.append(f"{function}(w, {', '.join(map(str, args))});")

    def fields(self, struct: str, values: Mapping[str, object]) -> str:
        """A pointer to a struct that has these values."""
        return f"&({struct}){{{', '.join(f'.{name} = {value}' for name, value in values.items())}}}"

    def kernel(self, *specs: KernelSpec, member: str | None = None) -> str:
        name = member or specs[0].symbol
        self.plan.kernels[name] = specs
        return f"k->{name}"

    def tokens(self, value: Value) -> str:
        return _ROWS[str(value.type.shape[0])]

    def f32(self, value: Value) -> str:
        """Pointer to f32 rows."""
        if value == self.graph.results[0]:
            return "s->logits"
        if value.name in self.constants:
            return _identifier(value.name)
        return f"F({self.at[value.name]})"

    def i32(self, value: Value) -> str:
        """Pointer to computed i32 rows."""
        return f"(int32_t *){self.f32(value)}"

    def q8(self, value: Value) -> str:
        """The three arrays of quantised activations."""
        return self.q8_at(self.at[value.name], value.type)

    def q8_at(self, at: int, type: TensorType) -> str:
        parts = q8_storage(type, self.graph.bounds)
        return f"Q8({at}, {at + parts.scales}, {at + parts.sums})"

    def weight(self, value: Value) -> str:
        return f"W({self.plan.weights.offset(value)})"

    def vector(self, value: Value | None) -> str:
        if value is None or value.name in self.constants:
            return self.f32(value) if value else "NULL"
        return f"(const float *){self.weight(value)}"

    def in_place(self, source: Value, target: Value) -> None:
        """Kernels that update their operand need it where the result will be."""
        if self.at[source.name] != self.at[target.name]:
            self.call("llmc_op_copy", self.f32(source), self.f32(target), _pad(_columns(source)), self.tokens(source))
            self.barrier()

    def barrier(self) -> None:
        """Ends the op of the calls since the last one."""
        label = self.plan.labels.setdefault(_label(self.node), len(self.plan.labels))
        self.plan.ops.append(Op(tuple(self.calls), label, self.by_rows()))
        self.calls.clear()

    def by_rows(self) -> Rows | None:
        """How the op's work can be shared, where that is by rows alone."""
        if not {call.split("(")[0] for call in self.calls} <= _BY_ROWS:
            return None
        values = [v for v in (*self.node.outputs, *self.node.inputs) if v.type.shape and v.type.shape[0] in _ROWS]
        columns = max(_columns(value) for value in values if len(value.type.shape) > 1)
        return Rows(self.tokens(values[0]), max(1, ALONE_COLUMNS // columns))

    def forms(self, node: Node, skip: int = 0) -> tuple[Value | None, Value | None]:
        """(f32 result, q8 result) of a node with an `out` attribute, after `skip` other results."""
        by_form = dict(zip(node.attrs.get("out", "f32").split("+"), node.outputs[skip:], strict=True))
        return by_form.get("f32"), by_form.get("q8")

    def activations(self, x: Value) -> str:
        k = _columns(x)
        if x.type.dtype is DType.Q8:
            return f"&(llmc_activations){{.q8 = {self.q8(x)}, .k = {k}, .tokens = {self.tokens(x)}}}"
        return f"&(llmc_activations){{.x = {self.f32(x)}, .ldx = {_pad(k)}, .k = {k}, .tokens = {self.tokens(x)}}}"

    def linear(self, x: Value, weight: Value, bias: Value | None, y: str, ldy: int) -> str:
        fmt = weight.type.dtype
        assert not isinstance(fmt, DType)
        table = self.linear_kernels(fmt, "q8" if x.type.dtype is DType.Q8 else "f32")
        tiles = _pad(int(weight.type.shape[0])) // 16
        return f"{{{table}, {self.weight(weight)}, {self.vector(bias)}, {y}, {tiles}, {ldy}}}"

    def expert_matrix(self, weight: Value, bias: Value | None, acts: str) -> str:
        """The matrices of all experts, one after the other, and their biases."""
        fmt = weight.type.dtype
        assert not isinstance(fmt, DType)
        rows, columns = map(int, weight.type.shape[1:])
        table, each = self.linear_kernels(fmt, acts), packed_bytes(fmt, rows, columns)
        return f"{{{table}, {self.weight(weight)}, INT64_C({each}), {_pad(rows) // 16}, {self.vector(bias)}}}"

    def linear_kernels(self, fmt: Format, acts: str) -> str:
        specs = tuple(Linear(fmt, acts, p) for p in WIDTHS)
        return self.kernel(*specs, member=f"linear_{fmt.name}_{acts}")

    def layer_cache(self, node: Node, groups: int | None = None) -> str:
        """`groups`: of heads that attention is shared by, where not one for each key head."""
        cache, number = self.plan.cache, self.paged_layers[node.attrs["layer"]]
        assert cache is not None
        return f"(llmc_layer_cache){{0, {groups or cache.kv_heads}, {number * cache.layer_bytes}, {cache.page_bytes}}}"

    def layer_state(self, node: Node) -> str:
        states = self.plan.states
        assert states is not None
        group = 0 if self.plan.cache is None else 1
        return f"(llmc_layer_state){{{group}, INT64_C({states.offset(node)}), INT64_C({states.slot_bytes})}}"


def cache_of(graph: Graph) -> Cache | None:
    """All layers of this version that have keys and values share one paged group; they must agree on their geometry."""
    appends = [node for node in graph.nodes if node.op in PAGED]
    kinds = {(n.attrs["kv_heads"], n.attrs["head_dim"], n.attrs["dtype"], PAGED[n.op]) for n in appends}
    if not kinds:
        return None
    if len(kinds) != 1:
        raise NoKernelError(f"layers with different key/value geometry: {sorted(kinds)}")
    ((kv_heads, head_dim, dtype, parts),) = kinds
    return Cache(len({node.attrs["layer"] for node in appends}), kv_heads, head_dim, dtype, parts)


def _identifier(name: str) -> str:
    return "c_" + "".join(c if c.isalnum() else "_" for c in name)


# ---- one rule per op ----


@_rule("embedding")
def _embedding(p: _Lowering, node: Node) -> None:
    ids, table = node.inputs
    fmt = table.type.dtype
    assert not isinstance(fmt, DType)
    k = _columns(node.output)
    fn = p.kernel(Embed(fmt))
    scale = _float(node.attrs.get("scale", 1.0))
    y, tokens = p.f32(node.output), p.tokens(node.output)
    p.call("llmc_op_embed", fn, p.weight(table), f"s->{p.inputs[ids.name]}", y, k, _pad(k), scale, tokens)
    p.barrier()


@_rule("linear")
def _linear(p: _Lowering, node: Node) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    part = p.linear(node.inputs[0], node.inputs[1], bias, p.f32(node.output), _pad(_columns(node.output)))
    _launch(p, [part], node.inputs[0], node.attrs.get("scale", 1.0))
    if "softcap" in node.attrs:
        _cap(p, node.output, node.attrs["softcap"])


@_rule("linear_group")
def _linear_group(p: _Lowering, node: Node) -> None:
    pairs = group_weights(node.inputs, node.attrs)
    parts = [p.linear(node.inputs[0], w, b, p.f32(y), _pad(_columns(y))) for (w, b), y in zip(pairs, node.outputs, strict=True)]
    _launch(p, parts, node.inputs[0], 1.0)


def _launch(p: _Lowering, parts: list[str], x: Value, scale: float) -> None:
    p.call("llmc_op_linear", f"(const llmc_linear[]){{{', '.join(parts)}}}", len(parts), p.activations(x), _float(scale))
    p.barrier()


@_rule("linear_silu_mul", "linear_gelu_mul", "linear_gelu_erf_mul")
def _linear_gated(p: _Lowering, node: Node) -> None:
    y, out = p.forms(node)
    n = int(node.outputs[0].type.shape[-1])
    pairs = group_weights(node.inputs, node.attrs)
    parts = [p.linear(node.inputs[0], w, b, f"F({at})", _pad(n)) for (w, b), at in zip(pairs, node.attrs["scratch"], strict=True)]
    fn = p.kernel(Activation(_function(node), gated=True, f32=y is not None, q8=out is not None))
    table = f"(const llmc_linear[]){{{', '.join(parts)}}}"
    p.call("llmc_op_linear_gated", table, p.activations(node.inputs[0]), fn, p.f32(y) if y else "NULL", _pad(n), _q8(p, out))
    p.barrier()


@_rule("silu_mul", "sigmoid_mul", "gelu_mul", "gelu_erf_mul", "gelu", "gelu_erf", "relu2", "xielu")
def _activation(p: _Lowering, node: Node) -> None:
    x, *up = node.inputs
    y, out = p.forms(node)
    n = _pad(_columns(x))
    fn = p.kernel(Activation(_function(node), gated=node.op.endswith("_mul"), f32=y is not None, q8=out is not None))
    factor = p.f32(up[0]) if up else "NULL"
    p.call("llmc_op_activation", fn, p.f32(x), factor, p.f32(y) if y else "NULL", _q8(p, out), n, n, n, n, p.tokens(x))
    p.barrier()


def _function(node: Node) -> str:
    """silu, gelu: what `linear_silu_mul` and the like are named after."""
    return node.op.removeprefix("linear_").removesuffix("_mul")


def _q8(p: _Lowering, value: Value | None) -> str:
    return "NO_Q8" if value is None else p.q8(value)


@_rule("rms_norm", "layer_norm")
def _plain_norm(p: _Lowering, node: Node) -> None:
    x, *weights = node.inputs
    _norm(p, node, x, None, weights, skip=0)


@_rule("add_rms_norm", "add_layer_norm")
def _add_norm(p: _Lowering, node: Node) -> None:
    x, o, *weights = node.inputs
    p.in_place(x, node.outputs[0])
    _norm(p, node, node.outputs[0], o, weights, skip=1)


@_rule("add")
def _add(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _norm(p, node, node.output, node.inputs[1], [], skip=1, forms=False)


@_rule("quantize")
def _quantize(p: _Lowering, node: Node) -> None:
    _norm(p, node, node.inputs[0], None, [], skip=0, forms=False, q8=node.output)


def _norm(
    p: _Lowering,
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
    n = _columns(x)
    kind = node.op.removeprefix("add_").removesuffix("_norm") if weights else ""
    fn = p.kernel(Norm(add=o is not None, norm=kind, f32=y is not None, q8=out is not None))
    weight, bias = map(p.vector, [*weights, None, None][:2])
    p.call(
        "llmc_op_norm", fn, p.f32(x), p.f32(o) if o else "NULL", weight, bias, p.f32(y) if y else "NULL", _q8(p, out), n,
        _pad(n), _pad(n), _pad(n), _float(node.attrs.get("eps", 0.0)), _float(node.attrs.get("alpha", 1.0)), p.tokens(x),
    )  # fmt: skip
    p.barrier()


@_rule("head_norm", "head_layer_norm")
def _head_norm(p: _Lowering, node: Node) -> None:
    x, weight = node.inputs
    p.in_place(x, node.output)
    fn = p.kernel(HeadNorm(int(weight.type.shape[-1]), "layer" if node.op == "head_layer_norm" else "rms"))
    heads, eps = node.attrs["heads"], _float(node.attrs["eps"])
    p.call("llmc_op_head_norm", fn, p.f32(node.output), p.vector(weight), heads, _pad(_columns(x)), eps, p.tokens(x))
    p.barrier()


@_rule("rope_table")
def _rope_table(p: _Lowering, node: Node) -> None:
    half = _columns(node.output) // 2
    freqs, scale = p.f32(node.inputs[1]), _float(node.attrs.get("scale", 1.0))
    if len(node.inputs) > 2:
        freqs = f"s->context > {node.attrs['original_context']} ? {p.f32(node.inputs[2])} : {freqs}"
    table, tokens = p.f32(node.output), p.tokens(node.output)
    p.call("llmc_op_rope_table", p.kernel(RopeTable()), "s->positions", freqs, table, half, scale, tokens)
    p.barrier()


@_rule("rope")
def _rope(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _rotate(p, node, node.output, node.inputs[1])
    p.barrier()


def _rotate(p: _Lowering, node: Node, x: Value, table: Value) -> None:
    heads = node.attrs["heads"]
    fn = p.kernel(Rope(_columns(x) // heads, _columns(table), node.attrs["style"]))
    p.call("llmc_op_rope", fn, p.f32(x), p.f32(table), heads, _pad(_columns(x)), p.tokens(x))


@_rule("rope_kv_append")
def _rope_kv_append(p: _Lowering, node: Node) -> None:
    q, k, v, table, _ = node.inputs
    p.in_place(q, node.outputs[0])
    _rotate(p, node, node.outputs[0], table)
    _append(p, node, k, v, table)


@_rule("kv_append")
def _kv_append(p: _Lowering, node: Node) -> None:
    _append(p, node, node.inputs[1], node.inputs[2], None)


def _append(p: _Lowering, node: Node, k: Value, v: Value, table: Value | None) -> None:
    """`table` given: keys are rotated on their way into the cache."""
    d = node.attrs["head_dim"]
    style, rotated = (node.attrs["style"], _columns(table)) if table else ("half", 0)
    fn = p.kernel(KvAppend(d, node.attrs["dtype"], rotated, style))
    rows = p.f32(table) if table else "NULL"
    p.call("llmc_op_kv_append", "s", fn, p.f32(k), p.f32(v), rows, p.layer_cache(node), _pad(_columns(k)), _pad(_columns(v)))
    p.barrier()


@_rule("attention")
def _attention(p: _Lowering, node: Node) -> None:
    a, (q, _, _, *of_heads) = node.attrs, node.inputs
    group = a["heads"] // a["kv_heads"]
    softcap, window = a.get("softcap", 0.0), a.get("window", 0)
    kind = ("slopes" if a.get("alibi") else "sinks") if of_heads else ""
    specs = Attention.variants(a["head_dim"], group, a["dtype"], window > 0, softcap > 0, kind)
    fns = p.kernel(*specs, member=specs[0].symbol)
    n = _pad(_columns(q))
    tile, o, scale = specs[1].tokens, p.f32(node.output), _float(a["scale"])
    vector = p.vector(of_heads[0] if of_heads else None)
    p.call("llmc_op_attention", "s", fns, tile, p.f32(q), vector, o, p.layer_cache(node), n, n, scale, _float(softcap), window)
    p.barrier()


@_rule("softcap")
def _softcap(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _cap(p, node.output, node.attrs["cap"])


def _cap(p: _Lowering, x: Value, cap: float) -> None:
    n = _columns(x)
    p.call("llmc_op_softcap", p.kernel(Softcap()), p.f32(x), n, _pad(n), _float(cap), p.tokens(x))
    p.barrier()


@_rule("gate_rows")
def _gate_rows(p: _Lowering, node: Node) -> None:
    x, logits = node.inputs
    p.in_place(x, node.output)
    n = _columns(x)
    p.call("llmc_op_gate_rows", p.kernel(GateRows()), p.f32(node.output), p.f32(logits), n, _pad(n), _pad(1), p.tokens(x))
    p.barrier()


@_rule("clamp")
def _clamp(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    n = _columns(node.output)
    p.call("llmc_op_clamp", p.f32(node.output), n, _pad(n), _float(node.attrs["limit"]), p.tokens(node.output))
    p.barrier()


@_rule("scale_positions")
def _scale_positions(p: _Lowering, node: Node) -> None:
    x, _, factors = node.inputs
    p.in_place(x, node.output)
    n, count = _columns(x), int(factors.type.shape[0])
    p.call("llmc_op_scale_positions", "s", p.f32(node.output), p.f32(factors), count, node.attrs["length"], n, _pad(n))
    p.barrier()


@_rule("take_rows")
def _take_rows(p: _Lowering, node: Node) -> None:
    x = node.inputs[0]
    p.call("llmc_op_take_rows", p.f32(x), "s->rows", p.f32(node.output), _pad(_columns(x)), "s->n_rows")
    p.barrier()


@_rule("scale_columns")
def _scale_columns(p: _Lowering, node: Node) -> None:
    x, factors, *bias = node.inputs
    p.in_place(x, node.output)
    n = _columns(x)
    vectors = p.vector(factors), p.vector(bias[0] if bias else None)
    p.call("llmc_op_scale_columns", p.f32(node.output), *vectors, n, _pad(n), p.tokens(x))
    p.barrier()


@_rule("take_columns")
def _take_columns(p: _Lowering, node: Node) -> None:
    x, columns = node.inputs
    n = _columns(x)
    indices = f"(const int32_t *){p.weight(columns)}"
    p.call("llmc_op_take_columns", p.f32(x), indices, p.f32(node.output), n, _pad(n), p.tokens(x))
    p.barrier()


@_rule("router")
def _router(p: _Lowering, node: Node) -> None:
    """The fields of llmc_router (runtime/src/ops_experts.h)."""
    (logits, *bias), (ids, weights), a = node.inputs, node.outputs, node.attrs
    groups, groups_used, best = a.get("groups", (0, 0, 0))
    spec = Router(a["gate"], a["normalize"], biased=bool(bias), best_of_group=best)
    fields = {
        "logits": p.f32(logits), "bias": p.vector(bias[0] if bias else None), "ids": p.i32(ids), "weights": p.f32(weights),
        "n": _columns(logits), "used": a["used"], "groups": groups, "groups_used": groups_used, "ld": _pad(_columns(logits)),
        "ldo": _pad(a["used"]), "scale": _float(a.get("scale", 1.0)), "jitter": _float(a.get("jitter", 0.0)),
    }  # fmt: skip
    for scratch, type in zip(a.get("scratch", ()), scratch_types(node, p.graph.bounds), strict=True):
        fields |= {"choices": f"F({scratch})", "ldc": _pad(int(type.shape[-1]))}
    p.call("llmc_op_router", p.kernel(spec), p.fields("llmc_router", fields), p.tokens(logits))
    p.barrier()


@_rule("experts")
def _experts(p: _Lowering, node: Node) -> None:
    """The fields of llmc_experts (runtime/src/ops_experts.h)."""
    x, ids, weights, gate, up, down, *biases = node.inputs
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    outer, inner = node.attrs.get("forms", ("f32", "f32"))
    table, rows, gate_at, up_at, gated = node.attrs["scratch"]
    types, function = scratch_types(node, p.graph.bounds), node.attrs.get("function", "silu")
    count, intermediate, hidden = map(int, gate.type.shape)
    fields = {
        "x": p.f32(x), "ids": p.i32(ids), "weights": p.f32(weights), "y": p.f32(node.output),
        "gate_w": p.expert_matrix(gate, gate_bias, outer), "up_w": p.expert_matrix(up, up_bias, outer),
        "down_w": p.expert_matrix(down, down_bias, inner),
        "quantize": p.kernel(Norm(add=False, norm="", f32=False, q8=True)) if outer == "q8" else "NULL",
        "activation": p.kernel(Activation(function, True, f32=inner == "f32", q8=inner == "q8")), "sum": p.kernel(ExpertSum()),
        "table": f"(int32_t *)F({table})", "rows": f"F({rows})",
        "rows_q8": p.q8_at(rows, q8(*types[1].shape)) if outer == "q8" else "NO_Q8",
        "gate": f"F({gate_at})", "up": f"F({up_at})",
        "gated": f"F({gated})" if inner == "f32" else "NULL",
        "gated_q8": p.q8_at(gated, types[4]) if inner == "q8" else "NO_Q8",
        "experts": count, "used": ids.type.shape[1], "tokens": p.tokens(x), "hidden": hidden, "ld_hidden": _pad(hidden),
        "intermediate": intermediate, "ld_intermediate": _pad(intermediate), "ld_slots": _pad(_columns(ids)),
    }  # fmt: skip
    p.call("llmc_op_experts", p.fields("llmc_experts", fields))
    p.barrier()


from llmc.codegen import lower_encoder, lower_latent, lower_recurrent  # noqa: E402, F401  # with what is defined above
