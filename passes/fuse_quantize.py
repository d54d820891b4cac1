"""Quantises activations where they are made, while they are still in cache."""

from __future__ import annotations

from llmc.ir.graph import Edit, Graph, Uses
from llmc.passes.base import graph_pass

MAKERS = (
    "rms_norm", "add_rms_norm", "layer_norm", "add_layer_norm", "silu_mul", "linear_silu_mul", "gelu_mul",
    "linear_gelu_mul", "gelu_erf_mul", "linear_gelu_erf_mul", "gelu", "gelu_erf", "sigmoid_mul", "relu2", "relu", "xielu",
)  # fmt: skip
"""Ops whose attribute `out` names the forms they give their last result in."""


@graph_pass
def fuse_quantize(graph: Graph) -> Graph:
    """quantize(rms_norm(x)) -> rms_norm(x) {out="q8"}, and so for "q8_256" and for the other ops that know all forms.

    A value that is also used in float32 is given in both forms: out="f32+q8". A maker gives one
    quantised form; where both are used the second stays an op of its own. Saves a read and mostly a write of [T, C].
    """
    edit, uses = Edit(graph), Uses(graph)
    for node in graph.of_kind("quantize"):
        value = node.inputs[0]
        maker = uses.producer[value.name]
        if maker.op not in MAKERS or value != maker.outputs[-1] or edit.touched(maker):
            continue
        alone = uses.only_user(value) is node
        forms = (node.output,) if alone else (value, node.output)
        form = node.output.type.name
        attrs = {**maker.attrs, "out": form if alone else f"f32+{form}"}
        edit.replace(maker, maker.op, maker.inputs, (*maker.outputs[:-1], *forms), **attrs)
        edit.drop(node)
    return edit.graph()
