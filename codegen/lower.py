"""Graph to plan: every node becomes one call of runtime/src/ops.h, and the kernels it needs join the plan's table.

The graph comes from passes/pipeline.py: fused, with weight layouts, cache types and arena offsets (`at`) chosen. Rules are in
lower_*.py, one file for each group of ops; importing it registers them.
"""

from __future__ import annotations

from llmc.codegen import (  # noqa: F401  # rules
    lower_attention,
    lower_encoder,
    lower_experts,
    lower_latent,
    lower_linear,
    lower_recurrent,
    lower_rows,
    lower_streams,
)
from llmc.codegen.lowering import RULES, Lowering
from llmc.codegen.plan import NoKernelError, Plan
from llmc.ir.graph import SOURCES, Graph


def lower(graph: Graph) -> Plan:
    """The plan of a graph that has been through all passes. Raises NoKernelError naming the op."""
    lowering = Lowering(graph)
    for node in graph.nodes:
        if node.op in SOURCES:
            continue
        if node.op not in RULES:
            raise NoKernelError(f"op {node.op} has no kernel; LLMC_PASSES may have left out the pass that fuses it")
        lowering.node = node
        RULES[node.op](lowering, node)
    read = {value.name for node in graph.nodes if node.op != "embedding" for value in node.inputs}
    lowering.plan.step_bytes = sum(region.nbytes for region in lowering.plan.weights.regions if region.name in read)
    return lowering.plan
