"""Computes the end of the last layer for the rows that are asked for, not for every token of the step."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Node, Value
from llmc.ir.types import SCALE_COLUMNS, TensorType
from llmc.passes.base import graph_pass

ROW_OPERANDS = {
    "add": (0, 1), "mul": (0, 1), "silu_mul": (0, 1), "gelu_mul": (0, 1), "layer_norm": (0,),
    "softcap": (0,), "gelu_erf_mul": (0, 1), "sigmoid_mul": (0, 1), "gated_norm": (0, 1), "slice_columns": (0,),
    "gelu": (0,), "gelu_erf": (0,), "relu2": (0,), "relu": (0,), "xielu": (0,),
    "match_magnitude": (0, 1), "scale_by_id": (0, 1), "sparsify": (0,),
    "take_columns": (0,), "scale_columns": (0,), "gate_rows": (0, 1),
    "linear": (0,), "add_bias": (0,), "scale": (0,), "silu": (0,), "rms_norm": (0,), "router": (0,), "experts": (0, 1, 2),
    "ungated_experts": (0, 1, 2),
}  # fmt: skip
"""Ops that work on each row (token) alone, and which of their operands have a row per token."""

Taken = dict[tuple[str, str], Value]  # names of a value and of the rows wanted of it -> the value that has those rows only


@graph_pass
def hoist_take_rows(graph: Graph) -> Graph:
    """take_rows(f(x), rows) -> f(take_rows(x, rows)) for row-wise f, as far up as nobody needs the other rows.

    In a decoder it stops below the last attention: the output projection, the feed-forward block and the last norm then work on
    R wanted rows instead of T tokens, and on none in a prefill chunk that wants no logits. Costs one extra copy of [R, C].
    """
    rows_of = _rows_wanted(graph)
    edit = Edit(graph)
    taken: Taken = {}
    for node in graph.nodes:
        if _moves(node, rows_of):
            _work_on_rows(edit, node, rows_of[node.outputs[0].name], taken)
        elif node.op == "take_rows":
            _take_once(edit, node, taken)
    return edit.graph()


def _rows_wanted(graph: Graph) -> dict[str, Value | None]:
    """For every used value the `rows` all its users restrict it to, or None where some user needs every row."""
    wanted: dict[str, Value | None] = {value.name: None for value in graph.results}

    def use(value: Value, rows: Value | None) -> None:
        wanted[value.name] = rows if wanted.get(value.name, rows) == rows else None

    for node in reversed(graph.nodes):
        for i, value in enumerate(node.inputs):
            if node.op == "take_rows" and i == 0:
                use(value, node.inputs[1])
            else:
                use(value, wanted[node.outputs[0].name] if _moves(node, wanted) and i in ROW_OPERANDS[node.op] else None)
    return wanted


def _moves(node: Node, rows_of: dict[str, Value | None]) -> bool:
    wanted = {rows_of.get(value.name) for value in node.outputs}
    if node.op not in ROW_OPERANDS or None in wanted or len(wanted) > 1:
        return False
    operands = [node.inputs[i] for i in ROW_OPERANDS[node.op]]
    return all(value.type.dtype not in SCALE_COLUMNS for value in (*operands, *node.outputs))


def _work_on_rows(edit: Edit, node: Node, rows: Value | None, taken: Taken) -> None:
    """Replaces `node` by itself on the wanted rows of its operands; its values keep their names and change their types."""
    assert rows is not None
    inputs = list(node.inputs)
    for i in ROW_OPERANDS[node.op]:
        value, key = inputs[i], (inputs[i].name, rows.name)
        if key not in taken:
            taken[key] = edit.insert_before(node, "take_rows", (value, rows), _restricted(value, rows), f"{value.name}.rows")
        inputs[i] = taken[key]
    outputs = tuple(Value(value.name, _restricted(value, rows)) for value in node.outputs)
    edit.swap(node, Node(node.op, tuple(inputs), outputs, node.attrs))
    taken.update(((output.name, rows.name), output) for output in outputs)


def _take_once(edit: Edit, node: Node, taken: Taken) -> None:
    """Drops a take_rows whose rows have been taken above."""
    key = (node.inputs[0].name, node.inputs[1].name)
    if key in taken:
        edit.rename(node.output, taken[key])
        edit.drop(node)


def _restricted(value: Value, rows: Value) -> TensorType:
    return TensorType(value.type.dtype, (*rows.type.shape, *value.type.shape[1:]))
