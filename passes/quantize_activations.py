"""Gives matrix products with block formats int8 activations, so that they run on integer dot products."""

from __future__ import annotations

from collections.abc import Sequence

from llmc.ir.graph import Edit, Graph, Node, Uses, Value
from llmc.ir.quant import BlockFormat
from llmc.ir.types import DType, q8
from llmc.passes.base import graph_pass

COLUMNS = 32
"""Columns that share a scale in the q8 form."""


@graph_pass
def quantize_activations(graph: Graph) -> Graph:
    """linear(x, W) -> linear(quantize(x), W) where W is in a block format of integers; one quantize per distinct x.

    Floats (f32, f16, bf16, e4m3, in blocks too) keep float32 activations, and so does an x whose columns are no multiple of 32.
    `experts` is told to quantise inside, after it has sorted the rows. What a router reads stays float32: rounding would flip
    experts.
    Changes results: each group of 32 activations is rounded to 8 bits.
    """
    edit, uses = Edit(graph), Uses(graph)
    quantized: dict[str, Value] = {}
    for node in graph.of_kind("linear"):
        x = node.inputs[0]
        if not _takes_q8(node) or _is_routed(uses.users(node.output)):
            continue
        if x.name not in quantized:
            quantized[x.name] = edit.insert_before(node, "quantize", (x,), q8(*x.type.shape), f"{x.name}.q8")
        edit.replace(node, "linear", (quantized[x.name], *node.inputs[1:]), **node.attrs)
    for node in graph.of_kind("experts"):
        gate, up, down = (_is_integral(w) for w in node.inputs[3:6])
        if down or (gate and up):
            edit.swap(node, node.with_attrs(forms=("q8" if gate and up else "f32", "q8" if down else "f32")))
    for node in graph.of_kind("ungated_experts"):
        edit.swap(node, node.with_attrs(forms=tuple("q8" if _is_integral(w) else "f32" for w in node.inputs[3:5])))
    return edit.graph()


def _is_routed(users: Sequence[Node | None]) -> bool:
    return any(user is not None and user.op == "router" for user in users)


def _takes_q8(linear: Node) -> bool:
    x, weight = linear.inputs[:2]
    return _is_integral(weight) and x.type.dtype is DType.F32 and int(x.type.shape[-1]) % COLUMNS == 0


def _is_integral(weight: Value) -> bool:
    fmt = weight.type.dtype
    return isinstance(fmt, BlockFormat) and fmt.integral
