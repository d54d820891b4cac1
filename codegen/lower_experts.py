"""Lowering of mixtures of experts: router and experts."""

from __future__ import annotations

from collections.abc import Mapping

from llmc.codegen.kernels.activation import Activation
from llmc.codegen.kernels.expert_sum import ExpertSum
from llmc.codegen.kernels.norm import Norm
from llmc.codegen.kernels.router import Router
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node, Value
from llmc.ir.storage import scratch_types
from llmc.ir.types import DType, TensorType


@rule("router")
def _router(p: Lowering, node: Node) -> None:
    """The fields of llmc_router (runtime/src/ops_experts.h)."""
    (logits, *bias), (ids, weights), a = node.inputs, node.outputs, node.attrs
    groups, groups_used, best = a.get("groups", (0, 0, 0))
    spec = Router(a["gate"], a["normalize"], biased=bool(bias), best_of_group=best)
    fields = {
        "logits": p.f32(logits), "bias": p.vector(bias[0] if bias else None), "ids": p.i32(ids), "weights": p.f32(weights),
        "n": columns(logits), "used": a["used"], "groups": groups, "groups_used": groups_used, "ld": pad(columns(logits)),
        "ldo": pad(a["used"]), "scale": c_float(a.get("scale", 1.0)), "jitter": c_float(a.get("jitter", 0.0)),
    }  # fmt: skip
    for scratch, type in zip(a.get("scratch", ()), scratch_types(node, p.graph.bounds), strict=True):
        fields |= {"choices": f"F({scratch})", "ldc": pad(int(type.shape[-1]))}
    p.call("llmc_op_router", p.kernel(spec), p.fields("llmc_router", fields), p.tokens(logits))
    p.barrier()


def _acts(form: str) -> str:
    """What kernels call activations of a form."""
    return "f32" if form == "f32" else "q8"


@rule("experts")
def _experts(p: Lowering, node: Node) -> None:
    gate, up, down, *biases = node.inputs[3:]
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    outer, _ = _forms(node)
    fields: dict[str, object] = {
        "up_w": p.expert_matrix(up, up_bias, _acts(outer)), "up": f"F({node.attrs['scratch'][3]})",
        "weigh_x": int(node.attrs.get("weigh", "result") == "x"),
    }  # fmt: skip
    activation = _activation(node, node.attrs.get("function", "silu"), gated=True)
    _call(p, node, (gate, gate_bias), (down, down_bias), activation, fields)


@rule("ungated_experts")
def _ungated_experts(p: Lowering, node: Node) -> None:
    """`up` takes the place of the gate, and nothing that of the other half."""
    up, down = node.inputs[3:]
    _call(p, node, (up, None), (down, None), _activation(node, node.attrs["function"], gated=False), {})


def _forms(node: Node) -> tuple[str, str]:
    """Of what the first products read, and the last."""
    forms: tuple[str, str] = node.attrs.get("forms", ("f32", "f32"))
    return forms


def _activation(node: Node, function: str, *, gated: bool) -> Activation:
    """What stands between the products, in the form that the last ones read."""
    inner = _forms(node)[1]
    return Activation(function, gated, f32=inner == "f32", q8="" if inner == "f32" else inner)


def _call(
    p: Lowering, node: Node, first: tuple[Value, Value | None], last: tuple[Value, Value | None], activation: Activation,
    others: Mapping[str, object],
) -> None:  # fmt: skip
    """The fields of llmc_experts (runtime/src/ops_experts.h). first, last: matrices and their biases."""
    x, ids, weights = node.inputs[:3]
    (outer, inner), scratch, types = _forms(node), node.attrs["scratch"], scratch_types(node, p.graph.bounds)
    table, rows, gate = scratch[:3]
    count, intermediate, hidden = map(int, first[0].type.shape)
    fields = {
        "x": p.f32(x), "ids": p.i32(ids), "weights": p.f32(weights), "y": p.f32(node.output),
        "gate_w": p.expert_matrix(*first, _acts(outer)), "down_w": p.expert_matrix(*last, _acts(inner)),
        "quantize": "NULL" if outer == "f32" else p.kernel(Norm(add=False, norm="", f32=False, q8=outer)),
        "activation": p.kernel(activation), "sum": p.kernel(ExpertSum(weighted=not others.get("weigh_x"))),
        "table": f"(int32_t *)F({table})", "rows": f"F({rows})",
        "rows_q8": "NO_Q8" if outer == "f32" else p.q8_at(rows, TensorType(DType(outer), types[1].shape)), "gate": f"F({gate})",
        "gated": f"F({scratch[-1]})" if inner == "f32" else "NULL",
        "gated_q8": "NO_Q8" if inner == "f32" else p.q8_at(scratch[-1], types[-1]),
        "experts": count, "used": ids.type.shape[1], "tokens": p.tokens(x), "hidden": hidden, "ld_hidden": pad(hidden),
        "intermediate": intermediate, "ld_intermediate": pad(intermediate), "ld_slots": pad(columns(ids)), **others,
    }  # fmt: skip
    p.call("llmc_op_experts", p.fields("llmc_experts", fields))
    p.barrier()
