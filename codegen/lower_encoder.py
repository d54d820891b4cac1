"""Rules of what encoders alone have: attention to both sides."""

from __future__ import annotations

from llmc.codegen.kernels.attention_both import AttentionBoth
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node


@rule("attention_both")
def _attention_both(p: Lowering, node: Node) -> None:
    a, q = node.attrs, node.inputs[0]
    reach = a.get("reach", 0)
    specs = AttentionBoth.variants(a["head_dim"], a["heads"] // a["kv_heads"], a["dtype"], reach > 0)
    fns, n = p.kernel(*specs, member=specs[0].symbol), pad(columns(q))
    rows, scale = (p.f32(q), p.f32(node.output)), c_float(a["scale"])
    p.call("llmc_op_attention_both", "s", fns, specs[1].tokens, *rows, p.layer_cache(node), n, n, scale, reach)
    p.barrier()
