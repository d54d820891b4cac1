"""Lowering of mixtures of experts: router and experts."""

from __future__ import annotations

from llmc.codegen.kernels.activation import Activation
from llmc.codegen.kernels.expert_sum import ExpertSum
from llmc.codegen.kernels.norm import Norm
from llmc.codegen.kernels.router import Router
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node
from llmc.ir.storage import scratch_types
from llmc.ir.types import q8


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


@rule("experts")
def _experts(p: Lowering, node: Node) -> None:
    """The fields of llmc_experts (runtime/src/ops_experts.h)."""
    x, ids, weights, gate, up, down, *biases = node.inputs
    gate_bias, up_bias, down_bias = biases or (None, None, None)
    outer, inner = node.attrs.get("forms", ("f32", "f32"))
    table, rows, gate_at, up_at, gated = node.attrs["scratch"]
    types, function = scratch_types(node, p.graph.bounds), node.attrs.get("function", "silu")
    weigh_x = node.attrs.get("weigh", "result") == "x"
    count, intermediate, hidden = map(int, gate.type.shape)
    fields = {
        "x": p.f32(x), "ids": p.i32(ids), "weights": p.f32(weights), "y": p.f32(node.output),
        "gate_w": p.expert_matrix(gate, gate_bias, outer), "up_w": p.expert_matrix(up, up_bias, outer),
        "down_w": p.expert_matrix(down, down_bias, inner),
        "quantize": p.kernel(Norm(add=False, norm="", f32=False, q8=True)) if outer == "q8" else "NULL",
        "activation": p.kernel(Activation(function, True, f32=inner == "f32", q8=inner == "q8")),
        "sum": p.kernel(ExpertSum(weighted=not weigh_x)), "weigh_x": int(weigh_x),
        "table": f"(int32_t *)F({table})", "rows": f"F({rows})",
        "rows_q8": p.q8_at(rows, q8(*types[1].shape)) if outer == "q8" else "NO_Q8",
        "gate": f"F({gate_at})", "up": f"F({up_at})",
        "gated": f"F({gated})" if inner == "f32" else "NULL",
        "gated_q8": p.q8_at(gated, types[4]) if inner == "q8" else "NO_Q8",
        "experts": count, "used": ids.type.shape[1], "tokens": p.tokens(x), "hidden": hidden, "ld_hidden": pad(hidden),
        "intermediate": intermediate, "ld_intermediate": pad(intermediate), "ld_slots": pad(columns(ids)),
    }  # fmt: skip
    p.call("llmc_op_experts", p.fields("llmc_experts", fields))
    p.barrier()


@rule("ungated_experts")
def _ungated_experts(p: Lowering, node: Node) -> None:
    """The same struct, with `up` in the place of the gate and nothing in that of the other half."""
    x, ids, weights, up, down = node.inputs
    outer, inner = node.attrs.get("forms", ("f32", "f32"))
    (table, rows, up_at, activated), types = node.attrs["scratch"], scratch_types(node, p.graph.bounds)
    count, intermediate, hidden = map(int, up.type.shape)
    fields = {
        "x": p.f32(x), "ids": p.i32(ids), "weights": p.f32(weights), "y": p.f32(node.output),
        "gate_w": p.expert_matrix(up, None, outer), "down_w": p.expert_matrix(down, None, inner),
        "quantize": p.kernel(Norm(add=False, norm="", f32=False, q8=True)) if outer == "q8" else "NULL",
        "activation": p.kernel(Activation(node.attrs["function"], False, f32=inner == "f32", q8=inner == "q8")),
        "sum": p.kernel(ExpertSum()), "table": f"(int32_t *)F({table})", "rows": f"F({rows})",
        "rows_q8": p.q8_at(rows, q8(*types[1].shape)) if outer == "q8" else "NO_Q8", "gate": f"F({up_at})",
        "gated": f"F({activated})" if inner == "f32" else "NULL",
        "gated_q8": p.q8_at(activated, types[3]) if inner == "q8" else "NO_Q8",
        "experts": count, "used": ids.type.shape[1], "tokens": p.tokens(x), "hidden": hidden, "ld_hidden": pad(hidden),
        "intermediate": intermediate, "ld_intermediate": pad(intermediate), "ld_slots": pad(columns(ids)),
    }  # fmt: skip
    p.call("llmc_op_experts", p.fields("llmc_experts", fields))
    p.barrier()
