"""Graph to GPU plan: every node becomes launches of kernels, in order on one stream.

The graph is the one of exact activations (passes/pipeline.py with activations "f32"): values on the device are f32, and what a
kernel rounds for a matrix unit it rounds itself. Weights lie as they do for processors, in tiles of 16 rows, so an artifact for
both holds them once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from llmc.codegen.caches import cache_of, caches_of
from llmc.codegen.gpu import lower_matrix
from llmc.codegen.gpu.kernels.attention import GpuAttention, GpuAttentionMerge
from llmc.codegen.gpu.kernels.attention_mma import TOKENS_OF_A_SEQUENCE, GpuAttentionMma, fits
from llmc.codegen.gpu.kernels.best import GpuBest, parts
from llmc.codegen.gpu.kernels.elementwise import (
    GpuActivation,
    GpuClamp,
    GpuGateRows,
    GpuScaleColumns,
    GpuScalePositions,
    GpuSoftcap,
    GpuTakeColumns,
    GpuTakeRows,
    GpuXielu,
)
from llmc.codegen.gpu.kernels.embed import GpuEmbed
from llmc.codegen.gpu.kernels.kv_append import GpuKvAppend
from llmc.codegen.gpu.kernels.latent_attention import GpuLatentAttention
from llmc.codegen.gpu.kernels.linear import WIDTHS, GpuLinear
from llmc.codegen.gpu.kernels.norm import GpuHeadNorm, GpuNorm
from llmc.codegen.gpu.kernels.rope import GpuRope, GpuRopeTable
from llmc.codegen.gpu.spec import CudaSpec, GpuKernelSpec
from llmc.codegen.plan import NoKernelError
from llmc.codegen.states import States
from llmc.codegen.weights import WeightFile, place
from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.ops import group_weights
from llmc.ir.storage import TILE, align
from llmc.ir.types import DType, Format

MAX_BLOCKS = 2048  # of a split attention, which bounds the memory of its states


@dataclass
class GpuPlan:
    """What the host template prints and the device compilers build.

    step_tokens most tokens of a step
    arena       bytes of a step's values, with the states of split attention at the end
    statements  of a step; picks: those that find the best of each row of logits, from the best of `pick_parts` parts
    constants   what kernels read that is neither computed nor a weight, little-endian, 64-byte aligned pieces
    """

    weights: WeightFile
    arena: int
    step_tokens: int
    statements: list[str] = field(default_factory=list)
    picks: list[str] = field(default_factory=list)
    pick_parts: int = 0
    kernels: dict[str, GpuKernelSpec] = field(default_factory=dict)
    constants: bytearray = field(default_factory=bytearray)

    @property
    def specs(self) -> list[GpuKernelSpec]:
        """Every kernel, in the order of its number: those that all devices have come first."""
        return sorted(self.kernels.values(), key=lambda spec: isinstance(spec, CudaSpec))

    @property
    def common(self) -> int:
        """How many kernels all devices have."""
        return sum(not isinstance(spec, CudaSpec) for spec in self.kernels.values())


def lower(graph: Graph, weights: WeightFile | None = None, exact: bool = False) -> GpuPlan:
    """The plan of a graph that has been through all passes. Raises NoKernelError naming an op that has no GPU kernel.

    weights: the file of the same model's CPU plan, where an artifact holds both. exact: activations stay f32, so matrix units,
    which take halves, stay idle.
    """
    lowering = _Lowering(graph, weights or place(graph), exact)
    for node in graph.nodes:
        if node.op in SOURCES:
            continue
        if node.op not in _RULES:
            raise NoKernelError(f"op {node.op} has no GPU kernel")
        rule, known = _RULES[node.op]
        unknown = sorted(node.attrs.keys() - known - _PLACES)
        if unknown:
            raise NoKernelError(f"op {node.op} with {', '.join(unknown)} has no GPU kernel")
        lowering.wait_for_weights(node)
        rule(lowering, node)
    lowering.pick()
    lowering.plan.arena += lowering.states
    return lowering.plan


_Rule = Callable[["_Lowering", Node], None]
_RULES: dict[str, tuple[_Rule, frozenset[str]]] = {}
_PLACES = frozenset({"at", "scratch", "out"})  # attributes that every op may have
_ROWS = {"T": "s->n_tokens", "R": "s->n_rows"}


def _rule(*ops: str, attrs: str = "") -> Callable[[_Rule], _Rule]:
    """Registers what lowers `ops`, and the attributes it takes into account: an op that has another one is refused."""

    def register(rule: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(ops, (rule, frozenset(attrs.split()))))
        return rule

    return register


def _columns(value: Value) -> int:
    return int(value.type.shape[-1])


def _ld(value: Value) -> int:
    """Columns between two f32 rows."""
    return align(_columns(value), TILE)


def _float(x: float) -> str:
    """A C literal of exactly this f32."""
    return f"{float(np.float32(x)).hex()}f"


class _Lowering:
    """C expressions for the values of one graph."""

    def __init__(self, graph: Graph, weights: WeightFile, exact: bool) -> None:
        self.graph, self.exact = graph, exact
        self.plan = GpuPlan(weights, align(int(graph.attrs["arena"])), graph.bounds["T"])
        self.halves = lower_matrix.Halves.of(graph, self.plan.arena)
        self.plan.arena += 0 if exact else self.halves.nbytes
        self.caches = caches_of(graph)
        self.recurrent = States.of(graph)
        self.inputs = {node.output.name: node.output.name for node in graph.of_kind("input")}
        self.states = 0
        self.at = {
            v.name: offset
            for node in graph.nodes
            if node.op not in SOURCES
            for v, offset in zip(node.outputs, node.attrs["at"], strict=True)
        }
        self.weights = {node.output.name for node in graph.of_kind("weight")}
        self.arrived = 0  # bytes of the weights file that are waited for
        self.constants = {node.output.name: self.constant(node.data) for node in graph.of_kind("constant")}

    def constant(self, data: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None) -> int:
        """Where an array of f32 lies among the constants."""
        assert data is not None
        self.plan.constants += bytes(-len(self.plan.constants) % 64)
        at = len(self.plan.constants)
        self.plan.constants += data.astype("<f4").tobytes()
        return at

    def launch(self, spec: GpuKernelSpec, *args: object) -> None:
        """Queues a kernel. Its last parameter, the number of tokens, is among the arguments."""
        self.plan.statements.append(self.call(spec, *args))

    def call(self, spec: GpuKernelSpec, *args: object) -> str:
        """The statement that queues a kernel."""
        known = self.plan.kernels.setdefault(spec.symbol, spec)
        assert known == spec, spec.symbol
        assert len(args) == len(spec.params), spec.symbol
        return f"launch_{spec.symbol}(s, {', '.join(map(str, args))});"

    def wait_for_weights(self, node: Node) -> None:
        """What follows reads the weights of a node. They arrive in the order of the file, which is that of their first use."""
        end = max((self.plan.weights.end(v) for v in node.inputs if v.name in self.weights), default=0)
        if end > self.arrived:
            self.arrived = end
            self.plan.statements.append(f"llmc_gpu_weights(s->queue, UINT64_C({end}));")

    def pick(self) -> None:
        """The launches that find the best of each row of the result."""
        vocab, ld = _columns(self.graph.results[0]), _ld(self.graph.results[0])
        n = self.plan.pick_parts = parts(vocab)
        step, self.plan.statements = self.plan.statements, []
        self.launch(GpuBest(True), "s->logits", 0, "p->part_scores", "p->part_ids", vocab, ld, n, "p->count", "s->n_rows")
        parted = f"{n} * p->count"
        self.launch(
            GpuBest(False),
            "p->part_scores", "p->part_ids", "p->scores", "p->ids", parted, parted, 1, "p->count", "s->n_rows",
        )  # fmt: skip
        self.plan.picks, self.plan.statements = self.plan.statements, step

    def tokens(self, value: Value) -> str:
        return _ROWS[str(value.type.shape[0])]

    def f32(self, value: Value | None) -> str:
        """Address of f32 rows; 0 for none."""
        if value is None:
            return "0"
        if value == self.graph.results[0]:
            return "s->logits"
        if value.name in self.constants:
            return f"s->constants + {self.constants[value.name]}"
        return f"s->arena + {self.at[value.name]}"

    def weight(self, value: Value | None) -> str:
        """Address of a weight; 0 for none."""
        return "0" if value is None else f"s->weights + UINT64_C({self.plan.weights.offset(value)})"

    def vector(self, value: Value | None) -> str:
        """Address of a vector, which is a weight or a constant; 0 for none."""
        return self.f32(value) if value is None or value.name in self.constants else self.weight(value)

    def branches(self, *calls: Callable[[], None]) -> list[str]:
        """The statements of each call, which are taken out of the plan to be put together in another way."""
        first, found, halved = len(self.plan.statements), [], self.halves.value
        for call in calls:
            self.halves.value = None
            call()
            halved = halved if self.halves.value is None else None  # what lies there afterwards depends on the way taken
            found.append(" ".join(self.plan.statements[first:]))
            del self.plan.statements[first:]
        self.halves.value = halved
        return found

    def in_place(self, source: Value, target: Value) -> None:
        """Kernels that update their operand need it where the result will be."""
        if self.at[source.name] != self.at[target.name]:
            n = _ld(source)
            self.launch(GpuTakeRows(False), self.f32(source), "0", self.f32(target), n, n, n, self.tokens(source))

    def linear(self, x: Value, weight: Value, bias: Value | None, y: Value, scale: float = 1.0, at: str | None = None) -> None:
        """y = scale * (x W^T + bias), with the token tile that fits the step. `at`: where y lies, if not in its own place."""
        fmt, n, ld = _format(weight), align(int(weight.type.shape[0]), TILE), _ld(x)
        places, rest = (self.vector(bias), at or self.f32(y)), (_float(scale), self.tokens(x))
        args = (self.weight(weight), self.f32(x), *places, _columns(x), n // TILE, ld, n, *rest)
        by_width(self, self.tokens(x), lambda p: self.launch(GpuLinear(fmt, p, bias is not None), *args))
        if self.exact:
            return
        test = lower_matrix.worthwhile(fmt, self.tokens(x))
        there = self.f32(x), self.weight(weight), *places
        matrix = lower_matrix.linear(self.call, self.halves, fmt, x, test, *there, n, ld, *rest)
        if matrix:
            self.plan.statements.append(f"if ({test}) {{ {matrix} }} else {{ {self.plan.statements.pop()} }}")

    def layer(self, node: Node) -> tuple[str, str, str]:
        """Address of a layer inside page 0 of its group, the group's page tables, and the bytes of a page."""
        layer = node.attrs["layer"]
        cache = cache_of(self.caches, layer)
        start = f"s->pools[{cache.number}] + UINT64_C({cache.offset(layer)})"
        return start, f"s->tables[{cache.number}]", f"INT64_C({cache.page_bytes})"


def by_width(p: _Lowering, tokens: str, launch: Callable[[int], None]) -> None:
    """launch(width), for the token tile that fits the step."""
    calls = p.branches(*(partial(launch, width) for width in WIDTHS))
    tests = [f"if ({tokens} <= {width}) " for width in WIDTHS[:-1]] + [""]
    p.plan.statements.append(" else ".join(test + call for test, call in zip(tests, calls, strict=True)))


def _format(weight: Value) -> Format:
    fmt = weight.type.dtype
    assert not isinstance(fmt, DType)
    return fmt


def _only_f32(node: Node) -> None:
    if node.attrs.get("out", "f32") != "f32":
        raise NoKernelError(f"op {node.op} quantises its result, which GPU kernels do not")


@_rule("embedding", attrs="scale")
def _embedding(p: _Lowering, node: Node) -> None:
    ids, table = node.inputs
    y, k = node.output, _columns(node.output)
    scale = _float(node.attrs.get("scale", 1.0))
    p.launch(GpuEmbed(_format(table)), p.weight(table), f"s->{p.inputs[ids.name]}", p.f32(y), k, _ld(y), scale, p.tokens(y))


@_rule("linear", attrs="scale softcap")
def _linear(p: _Lowering, node: Node) -> None:
    x, weight, *bias = node.inputs
    p.linear(x, weight, bias[0] if bias else None, node.output, node.attrs.get("scale", 1.0))
    if "softcap" in node.attrs:
        _cap(p, node.output, node.attrs["softcap"])


@_rule("linear_group", attrs="biases")
def _linear_group(p: _Lowering, node: Node) -> None:
    for (weight, bias), y in zip(group_weights(node.inputs, node.attrs), node.outputs, strict=True):
        p.linear(node.inputs[0], weight, bias, y)


@_rule("linear_silu_mul", "linear_gelu_mul", "linear_gelu_erf_mul", attrs="biases")
def _linear_gated(p: _Lowering, node: Node) -> None:
    _only_f32(node)
    x, y = node.inputs[0], node.output
    places = [f"s->arena + {at}" for at in node.attrs["scratch"]]
    for (weight, bias), at in zip(group_weights(node.inputs, node.attrs), places, strict=True):
        p.linear(x, weight, bias, y, at=at)
    n = _ld(y)
    function = node.op.removeprefix("linear_").removesuffix("_mul")
    p.launch(GpuActivation(function, True), *places, p.f32(y), n, n, n, n, p.tokens(y))


@_rule("silu_mul", "sigmoid_mul", "gelu_mul", "gelu_erf_mul", "gelu", "gelu_erf", "relu2")
def _activation(p: _Lowering, node: Node) -> None:
    _only_f32(node)
    x, *up = node.inputs
    n = _ld(x)
    spec = GpuActivation(node.op.removesuffix("_mul"), bool(up))
    p.launch(spec, p.f32(x), p.f32(up[0] if up else None), p.f32(node.output), n, n, n, n, p.tokens(x))


@_rule("rms_norm", "layer_norm", attrs="eps")
def _plain_norm(p: _Lowering, node: Node) -> None:
    x, *weights = node.inputs
    _norm(p, node, x, None, weights, node.outputs[0])


@_rule("add_rms_norm", "add_layer_norm", attrs="eps alpha")
def _add_norm(p: _Lowering, node: Node) -> None:
    x, o, *weights = node.inputs
    p.in_place(x, node.outputs[0])
    _norm(p, node, node.outputs[0], o, weights, node.outputs[1])


@_rule("add", attrs="alpha")
def _add(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _norm(p, node, node.output, node.inputs[1], [], None)


def _norm(p: _Lowering, node: Node, x: Value, o: Value | None, weights: list[Value], y: Value | None) -> None:
    """Every row-wise op around a norm is one kernel with parts left out. `weights`: of the norm, and its bias."""
    _only_f32(node)
    kind = node.op.removeprefix("add_").removesuffix("_norm") if weights else ""
    spec = GpuNorm(o is not None, kind, len(weights) > 1)
    weight, bias = map(p.vector, [*weights, None, None][:2])
    eps, alpha = _float(node.attrs.get("eps", 0.0)), _float(node.attrs.get("alpha", 1.0))
    p.launch(spec, p.f32(x), p.f32(o), weight, bias, p.f32(y), _columns(x), _ld(x), _ld(x), _ld(x), eps, alpha, p.tokens(x))


@_rule("head_norm", "head_layer_norm", attrs="heads eps")
def _head_norm(p: _Lowering, node: Node) -> None:
    x, weight = node.inputs
    p.in_place(x, node.output)
    norm = "layer" if node.op == "head_layer_norm" else "rms"
    spec, y = GpuHeadNorm(_columns(weight), norm), node.output
    p.launch(spec, p.f32(y), p.vector(weight), node.attrs["heads"], _ld(x), _float(node.attrs["eps"]), p.tokens(x))


@_rule("rope_table", attrs="scale original_context")
def _rope_table(p: _Lowering, node: Node) -> None:
    y, freqs = node.output, p.f32(node.inputs[1])
    if len(node.inputs) > 2:
        freqs = f"s->context > {node.attrs['original_context']} ? {p.f32(node.inputs[2])} : {freqs}"
    scale = _float(node.attrs.get("scale", 1.0))
    p.launch(GpuRopeTable(), "s->positions", freqs, p.f32(y), _columns(y) // 2, scale, p.tokens(y))


@_rule("rope", attrs="heads style")
def _rope(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _rotate(p, node, node.output, node.inputs[1])


def _rotate(p: _Lowering, node: Node, x: Value, table: Value) -> None:
    heads = node.attrs["heads"]
    spec = GpuRope(_columns(x) // heads, _columns(table), node.attrs["style"])
    p.launch(spec, p.f32(x), p.f32(table), heads, _ld(x), p.tokens(x))


@_rule("rope_kv_append", attrs="heads kv_heads head_dim style layer dtype fresh")
def _rope_kv_append(p: _Lowering, node: Node) -> None:
    q, k, v, table, _ = node.inputs
    p.in_place(q, node.outputs[0])
    _rotate(p, node, node.outputs[0], table)
    _append(p, node, k, v, table)


@_rule("kv_append", attrs="kv_heads head_dim layer dtype fresh")
def _kv_append(p: _Lowering, node: Node) -> None:
    _append(p, node, node.inputs[1], node.inputs[2], None)


def _append(p: _Lowering, node: Node, k: Value, v: Value, table: Value | None) -> None:
    """`table` given: keys are rotated on their way into the cache."""
    a = node.attrs
    style, rotated = (a["style"], _columns(table)) if table else ("half", 0)
    kv, tables, page_bytes = p.layer(node)
    p.launch(
        GpuKvAppend(a["head_dim"], a["dtype"], rotated, style),
        p.f32(k), p.f32(v), p.f32(table), kv, tables, "s->sequence",
        "s->positions", a["kv_heads"], _ld(k), _ld(v), "s->table_stride", page_bytes, p.tokens(k),
    )  # fmt: skip


@_rule("attention", attrs="heads kv_heads head_dim layer dtype scale softcap window alibi")
def _attention(p: _Lowering, node: Node) -> None:
    a, of_heads = node.attrs, node.inputs[3:]
    softcap, window = a.get("softcap", 0.0), a.get("window", 0)
    slopes = bool(a.get("alibi"))
    shape = a["head_dim"], a["heads"] // a["kv_heads"], a["dtype"]
    options = window > 0, softcap > 0, bool(of_heads) and not slopes, slopes
    whole, split = (GpuAttention(*shape, parts, *options) for parts in (False, True))
    given = p.vector(of_heads[0] if of_heads else None)
    attend(p, node, whole, split, given, a["kv_heads"], (_float(softcap), window))
    if not p.exact and not slopes and fits(a["head_dim"], a["dtype"]):
        _attend_many(p, node, given, (_float(softcap), window))


def _attend_many(p: _Lowering, node: Node, sinks: str, limits: tuple[object, object]) -> None:
    """Before the statement of the other ways: matrix units, where sequences have many tokens."""
    a, q, o = node.attrs, node.inputs[0], node.output
    kv, tables, page_bytes = p.layer(node)
    call = p.call(
        GpuAttentionMma(a["head_dim"]), p.f32(q), kv, tables, "s->sequence", "s->positions", sinks, p.f32(o), a["kv_heads"],
        a["heads"] // a["kv_heads"], _ld(q), _ld(o), "s->table_stride", page_bytes, _float(a["scale"]), *limits, p.tokens(q),
    )  # fmt: skip
    many = f"s->matrix_units && s->n_tokens >= {TOKENS_OF_A_SEQUENCE} * s->n_seqs"
    p.plan.statements.append(f"if ({many}) {call} else {p.plan.statements.pop()}")


def attend(
    p: _Lowering,
    node: Node,
    whole: GpuAttention | GpuLatentAttention,
    split: GpuAttention | GpuLatentAttention,
    of_heads: str,
    kv_heads: int,
    limits: tuple[object, object],
) -> None:
    """Two ways through: one block for all pages of a token, or several and a merge, where few tokens would leave a device idle.

    of_heads: address of what each head has. limits: softcap and window.
    """
    a, q, y = node.attrs, node.inputs[0], node.output
    states, values = f"s->arena + UINT64_C({p.plan.arena})", split.values
    p.states = max(p.states, MAX_BLOCKS * split.heads * (values + 2) * 4)
    kv, tables, page_bytes = p.layer(node)
    o, tokens = p.f32(y), p.tokens(q)
    args = [
        p.f32(q), kv, tables, "s->sequence", "s->positions", of_heads, o, states, kv_heads, _ld(q), _ld(y), "s->table_stride",
        page_bytes, _float(a["scale"]), *limits,
    ]  # fmt: skip

    def several() -> None:
        p.launch(split, *args, "splits", tokens)
        p.launch(GpuAttentionMerge(values, split.sinks), states, of_heads, o, a["heads"], _ld(y), "splits", tokens)

    one, more = p.branches(lambda: p.launch(whole, *args, 1, tokens), several)
    blocks = a["heads"] // whole.heads
    p.plan.statements.append(f"{{ int32_t splits = attention_splits(s, {blocks}); if (splits == 1) {one} else {{ {more} }} }}")


@_rule("softcap", attrs="cap")
def _softcap(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    _cap(p, node.output, node.attrs["cap"])


def _cap(p: _Lowering, x: Value, cap: float) -> None:
    p.launch(GpuSoftcap(), p.f32(x), _columns(x), _ld(x), _float(cap), p.tokens(x))


@_rule("take_rows")
def _take_rows(p: _Lowering, node: Node) -> None:
    x, n = node.inputs[0], _ld(node.inputs[0])
    p.launch(GpuTakeRows(True), p.f32(x), "s->rows", p.f32(node.output), n, n, n, "s->n_rows")


@_rule("take_columns")
def _take_columns(p: _Lowering, node: Node) -> None:
    x, columns = node.inputs
    p.launch(GpuTakeColumns(), p.f32(x), p.weight(columns), p.f32(node.output), _columns(x), _ld(x), _ld(x), p.tokens(x))


@_rule("scale_columns")
def _scale_columns(p: _Lowering, node: Node) -> None:
    x, factors, *bias = node.inputs
    p.in_place(x, node.output)
    y = node.output
    p.launch(
        GpuScaleColumns(bool(bias)),
        p.f32(y), p.vector(factors), p.vector(bias[0] if bias else None), _columns(x), _ld(x), p.tokens(x),
    )  # fmt: skip


@_rule("xielu")
def _xielu(p: _Lowering, node: Node) -> None:
    _only_f32(node)
    (x, parameters), y = node.inputs, node.output
    p.launch(GpuXielu(), p.f32(x), p.vector(parameters), p.f32(y), _columns(x), _ld(x), _ld(y), p.tokens(x))


@_rule("clamp", attrs="limit")
def _clamp(p: _Lowering, node: Node) -> None:
    p.in_place(node.inputs[0], node.output)
    y = node.output
    p.launch(GpuClamp(), p.f32(y), _columns(y), _ld(y), _float(node.attrs["limit"]), p.tokens(y))


@_rule("scale_positions", attrs="length")
def _scale_positions(p: _Lowering, node: Node) -> None:
    x, positions, factors = node.inputs
    p.in_place(x, node.output)
    sizes = int(factors.type.shape[0]), node.attrs["length"], _columns(x), _ld(x), p.tokens(x)
    p.launch(GpuScalePositions(), p.f32(node.output), f"s->{p.inputs[positions.name]}", p.vector(factors), *sizes)


@_rule("gate_rows")
def _gate_rows(p: _Lowering, node: Node) -> None:
    x, logits = node.inputs
    p.in_place(x, node.output)
    p.launch(GpuGateRows(), p.f32(node.output), p.f32(logits), _columns(x), _ld(x), _ld(logits), p.tokens(x))


from llmc.codegen.gpu import lower_encoder, lower_experts, lower_latent, lower_recurrent  # noqa: E402, F401  # with what is above
