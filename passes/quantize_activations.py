"""Gives matrix products with block formats int8 activations, so that they run on integer dot products."""

from __future__ import annotations

from collections.abc import Sequence

from llmc.ir.graph import Edit, Graph, Node, Uses, Value
from llmc.ir.quant import BlockFormat
from llmc.ir.types import SCALE_COLUMNS, DType, TensorType
from llmc.passes.base import graph_pass


@graph_pass
def quantize_activations(graph: Graph) -> Graph:
    """linear(x, W) -> linear(quantize(x), W) where W is in a block format of integers; one quantize per distinct x and form.

    Weights in super-blocks read the form "q8_256", in which 256 columns share a scale as they do in the weight, so that a product
    over a super-block is a whole number; others read "q8", a scale per 32 columns.
    Floats (f32, f16, bf16, e4m3, in blocks too) keep float32 activations, and so does an x whose columns are no multiple of 32.
    `experts` is told to quantise inside, after it has sorted the rows; gate and up must read the same form. What a router reads
    stays float32: rounding would flip experts.
    Changes results: each group of 32 or 256 activations is rounded to 8 bits.
    """
    edit, uses = Edit(graph), Uses(graph)
    quantized: dict[tuple[str, DType], Value] = {}
    for node in graph.of_kind("linear"):
        x = node.inputs[0]
        form = _form(node.inputs[1])
        if not _can_read(x, form) or _is_routed(uses.users(node.output)):
            continue
        if (x.name, form) not in quantized:
            attrs = {} if form is DType.Q8 else {"form": form.value}
            type, name = TensorType(form, x.type.shape), f"{x.name}.{form.value}"
            quantized[x.name, form] = edit.insert_before(node, "quantize", (x,), type, name, **attrs)
        edit.replace(node, "linear", (quantized[x.name, form], *node.inputs[1:]), **node.attrs)
    for node in graph.of_kind("experts"):
        gate, up, down = (_form(w) for w in node.inputs[3:6])
        forms = (gate if gate is up else DType.F32).value, down.value
        if forms != ("f32", "f32"):
            edit.swap(node, node.with_attrs(forms=forms))
    for node in graph.of_kind("ungated_experts"):
        edit.swap(node, node.with_attrs(forms=tuple(_form(w).value for w in node.inputs[3:5])))
    return edit.graph()


def _is_routed(users: Sequence[Node | None]) -> bool:
    return any(user is not None and user.op == "router" for user in users)


def _form(weight: Value) -> DType:
    """What a product with the weight reads."""
    fmt = weight.type.dtype
    if not isinstance(fmt, BlockFormat) or not fmt.integral:
        return DType.F32
    return DType.Q8_256 if fmt.super_block else DType.Q8


def _can_read(x: Value, form: DType) -> bool:
    """Whether x can be quantised to `form`."""
    return form in SCALE_COLUMNS and x.type.dtype is DType.F32 and int(x.type.shape[-1]) % SCALE_COLUMNS[form] == 0
