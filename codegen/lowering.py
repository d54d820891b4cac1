"""C expressions for the values of one graph, and the registry of rules: what every lower_*.py is written with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from llmc.codegen.caches import cache_of, caches_of
from llmc.codegen.kernels.base import KernelSpec
from llmc.codegen.kernels.linear import WIDTHS, Linear
from llmc.codegen.plan import Plan
from llmc.codegen.sections import ALONE_COLUMNS, Op, Rows
from llmc.codegen.states import States
from llmc.codegen.weights import place
from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.storage import TILE, align, q8_storage
from llmc.ir.tiles import packed_bytes
from llmc.ir.types import SCALE_COLUMNS, DType, Format, TensorType

_ROWS = {"T": "s->n_tokens", "R": "s->n_rows"}

# Functions of runtime/src/ops.h that share nothing but rows.
_BY_ROWS = {f"llmc_op_{name}" for name in (
    "activation", "causal_conv", "copy", "embed", "gate_rows", "gated_norm", "head_norm", "kv_append", "norm", "rope",
    "match_magnitude", "mix_rows", "rope_table", "router", "scale", "scale_by_id", "scale_columns", "slice_columns", "softcap",
    "sparsify", "take_columns", "take_rows",
)}  # fmt: skip

Rule = Callable[["Lowering", Node], None]
RULES: dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Registers a function as what lowers these ops."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return register


def form_of(value: Value | None) -> str:
    """The int8 form of a quantised value, "" for none."""
    return value.type.name if value else ""


def pad(n: int) -> int:
    """Columns between two f32 rows."""
    return align(n, TILE)


def columns(value: Value) -> int:
    """Elements of a row."""
    return int(value.type.shape[-1])


def c_float(x: float) -> str:
    """A C literal of exactly this f32."""
    return f"{float(np.float32(x)).hex()}f"


class Lowering:
    """C expressions for the values of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.plan = Plan(place(graph), caches_of(graph), States.of(graph), int(graph.attrs["arena"]))
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
            self.plan.constants[identifier(node.output.name)] = [float(x) for x in node.data.reshape(-1)] + padding
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
            return identifier(value.name)
        return f"F({self.at[value.name]})"

    def i32(self, value: Value) -> str:
        """Pointer to computed i32 rows."""
        return f"(int32_t *){self.f32(value)}"

    def ids(self, value: Value) -> str:
        """Pointer to token ids: those of the step, or computed ones."""
        return f"s->{self.inputs[value.name]}" if value.name in self.inputs else self.i32(value)

    def q8(self, value: Value | None) -> str:
        """The three arrays of quantised activations; of none where there is no such result."""
        return "NO_Q8" if value is None else self.q8_at(self.at[value.name], value.type)

    def q8_at(self, at: int, type: TensorType) -> str:
        parts = q8_storage(type, self.graph.bounds)
        assert isinstance(type.dtype, DType)
        return f"Q8({at}, {at + parts.scales}, {at + parts.sums}, {SCALE_COLUMNS[type.dtype]})"

    def weight(self, value: Value) -> str:
        return f"W({self.plan.weights.offset(value)})"

    def vector(self, value: Value | None) -> str:
        if value is None or value.name in self.constants:
            return self.f32(value) if value else "NULL"
        return f"(const float *){self.weight(value)}"

    def in_place(self, source: Value, target: Value) -> None:
        """Kernels that update their operand need it where the result will be."""
        if self.at[source.name] != self.at[target.name]:
            self.call("llmc_op_copy", self.f32(source), self.f32(target), pad(columns(source)), self.tokens(source))
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
        width = max(columns(value) for value in values if len(value.type.shape) > 1)
        return Rows(self.tokens(values[0]), max(1, ALONE_COLUMNS // width))

    def forms(self, node: Node, skip: int = 0) -> tuple[Value | None, Value | None]:
        """(f32 result, quantised result) of a node with an `out` attribute, after `skip` other results."""
        by_form = dict(zip(node.attrs.get("out", "f32").split("+"), node.outputs[skip:], strict=True))
        return by_form.get("f32"), by_form.get("q8") or by_form.get("q8_256")

    def activations(self, x: Value) -> str:
        k = columns(x)
        if x.type.dtype in SCALE_COLUMNS:
            return f"&(llmc_activations){{.q8 = {self.q8(x)}, .k = {k}, .tokens = {self.tokens(x)}}}"
        return f"&(llmc_activations){{.x = {self.f32(x)}, .ldx = {pad(k)}, .k = {k}, .tokens = {self.tokens(x)}}}"

    def linear(self, x: Value, weight: Value, bias: Value | None, y: str, ldy: int) -> str:
        fmt = weight.type.dtype
        assert not isinstance(fmt, DType)
        table = self.linear_kernels(fmt, "q8" if x.type.dtype in SCALE_COLUMNS else "f32")
        tiles = pad(int(weight.type.shape[0])) // 16
        return f"{{{table}, {self.weight(weight)}, {self.vector(bias)}, {y}, {tiles}, {ldy}}}"

    def expert_matrix(self, weight: Value, bias: Value | None, acts: str) -> str:
        """The matrices of all experts, one after the other, and their biases."""
        fmt = weight.type.dtype
        assert not isinstance(fmt, DType)
        rows, k = map(int, weight.type.shape[1:])
        table, each = self.linear_kernels(fmt, acts), packed_bytes(fmt, rows, k)
        return f"{{{table}, {self.weight(weight)}, INT64_C({each}), {pad(rows) // 16}, {self.vector(bias)}}}"

    def linear_kernels(self, fmt: Format, acts: str) -> str:
        specs = tuple(Linear(fmt, acts, p) for p in WIDTHS)
        return self.kernel(*specs, member=f"linear_{fmt.name}_{acts}")

    def layer_cache(self, node: Node, groups: int | None = None) -> str:
        """`groups`: of heads that attention is shared by, where not one for each key head."""
        layer = node.attrs["layer"]
        cache = cache_of(self.plan.caches, layer)
        heads = groups or cache.geometry.kv_heads
        return f"(llmc_layer_cache){{{cache.number}, {heads}, {cache.offset(layer)}, {cache.page_bytes}}}"

    def layer_state(self, node: Node) -> str:
        states = self.plan.states
        assert states is not None
        group = len(self.plan.caches)
        return f"(llmc_layer_state){{{group}, INT64_C({states.offset(node)}), INT64_C({states.slot_bytes})}}"


def identifier(name: str) -> str:
    return "c_" + "".join(c if c.isalnum() else "_" for c in name)


def _label(node: Node) -> str:
    """The op and what it computes, the same in every layer: `linear ffn.down`."""
    name = node.outputs[0].name if node.outputs else ""
    return f"{node.op} {re.sub(r'[.][0-9]+', '', name)}"
