"""Says how each weight is stored in the artifact."""

from __future__ import annotations

from llmc.errors import UnsupportedModelError
from llmc.ir.graph import Graph, Node
from llmc.passes.base import required_pass

LAYOUTS = {
    "embedding": ("", "tile16"),
    "linear": ("", "tile16", "vector"),
    "experts": ("", "", "", "tile16", "tile16", "tile16", "vector", "vector", "vector"),
    "ungated_experts": ("", "", "", "tile16", "tile16"),
    "router": ("", "vector"),
    "head_linear": ("", "tile16"),
    "attention": ("", "", "", "vector"),
    "bucket_bias": ("columns",),
    "take_columns": ("", "indices"),
    "scale_by_id": ("", "", "vector"),
    "scale_columns": ("", "vector", "vector"),
    "add_bias": ("", "vector"),
    "rms_norm": ("", "vector"),
    "head_norm": ("", "vector"),
    "head_layer_norm": ("", "vector"),
    "add_rms_norm": ("", "", "vector"),
    "layer_norm": ("", "vector", "vector"),
    "add_layer_norm": ("", "", "vector", "vector"),
    "causal_conv": ("", "", "columns", "vector"),
    "gated_conv": ("", "", "", "", "columns", "vector"),
    "selective_scan": ("", "", "", "", "", "columns", "vector"),
    "ssd": ("", "", "", "vector", "vector", "vector"),
    "delta_rule": ("", "", "", "", "vector", "vector"),
    "gated_norm": ("", "", "vector"),
}
"""What an op reads each operand as. A tied embedding is one weight: the gather picks its row out of the output matrix's tiles."""

GROUPS = ("linear_group", "linear_silu_mul", "linear_gelu_mul", "linear_gelu_erf_mul")


@required_pass
def choose_layout(graph: Graph) -> Graph:
    """Sets `layout` on every weight: "tile16" for matrices (tiles of 16 rows), "vector" for norm weights, biases and sinks,
    "indices" for the columns that take_columns takes, "columns" for small matrices that kernels read column by column.

    Tiles keep the format of the checkpoint (ir/tiles.py); vectors are stored as f32. Raises UnsupportedModelError for a weight
    that would be needed in two layouts, or by an op that reads no stored weight.
    """
    chosen: dict[str, str] = {}
    weights = {node.output.name: node for node in graph.of_kind("weight")}
    for node in graph.nodes:
        for i, value in enumerate(node.inputs):
            if value.name not in weights:
                continue
            layout, tensor = _layout(node, i), weights[value.name].attrs["tensor"]
            if not layout:
                raise UnsupportedModelError(f"tensor {tensor} is used by {node.op}, which reads no stored weight")
            if chosen.setdefault(value.name, layout) != layout:
                raise UnsupportedModelError(f"tensor {tensor} is needed as {chosen[value.name]} and as {layout}")
    return graph.with_nodes(_with_layout(node, chosen) for node in graph.nodes)


def _layout(node: Node, operand: int) -> str:
    if node.op in GROUPS:
        return "tile16" if 0 < operand <= len(node.attrs["biases"]) else "vector"
    layouts = LAYOUTS.get(node.op, ())
    return layouts[operand] if operand < len(layouts) else ""


def _with_layout(node: Node, chosen: dict[str, str]) -> Node:
    return node.with_attrs(layout=chosen[node.output.name]) if node.op == "weight" and node.output.name in chosen else node
