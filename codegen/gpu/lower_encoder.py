"""Lowering of what encoders alone have: attention to both sides."""

from __future__ import annotations

from llmc.codegen.gpu.kernels.attention import GpuAttentionBoth
from llmc.codegen.gpu.lower import _float, _ld, _Lowering, _rule
from llmc.ir.graph import Node


@_rule("attention_both", attrs="heads kv_heads head_dim layer dtype scale reach")
def _attention_both(p: _Lowering, node: Node) -> None:
    a, q = node.attrs, node.inputs[0]
    reach = a.get("reach", 0)
    kv, tables, page_bytes = p.layer(node)
    p.launch(
        GpuAttentionBoth(a["head_dim"], a["heads"] // a["kv_heads"], a["dtype"], reach > 0),
        p.f32(q), kv, tables, "s->sequence", "s->positions", "s->starts", p.f32(node.output), a["kv_heads"], _ld(q),
        _ld(node.output), "s->table_stride", page_bytes, _float(a["scale"]), reach, p.tokens(q),
    )  # fmt: skip
