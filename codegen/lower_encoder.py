"""Rules of what encoders alone have: attention to both sides, what joins its scores by distance, the mean of a text."""

from __future__ import annotations

from llmc.codegen.kernels.attention_both import AttentionBoth
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node


@rule("attention_both")
def _attention_both(p: Lowering, node: Node) -> None:
    a, (q, _, _, *bias) = node.attrs, node.inputs
    reach, span = a.get("reach", 0), (int(bias[0].type.shape[1]) + 1) // 2 if bias else 0
    specs = AttentionBoth.variants(a["head_dim"], a["heads"] // a["kv_heads"], a["dtype"], reach > 0, bool(bias))
    fns, n = p.kernel(*specs, member=specs[0].symbol), pad(columns(q))
    rows, scale = (p.f32(q), p.f32(node.output)), c_float(a["scale"])
    joined = f"(llmc_distance_bias){{{p.f32(bias[0]) if bias else 'NULL'}, {span}}}"
    p.call("llmc_op_attention_both", "s", fns, specs[1].tokens, *rows, p.layer_cache(node), n, n, scale, reach, joined)
    p.barrier()


@rule("bucket_bias")
def _bucket_bias(p: Lowering, node: Node) -> None:
    (table,), starts = node.inputs, node.attrs["starts"]
    buckets, heads = map(int, table.type.shape)
    begins = f"(const int32_t[]){{{', '.join(map(str, starts))}}}"
    sizes, span = (len(starts), heads, pad(buckets)), node.attrs["span"]
    p.call("llmc_op_bucket_bias", p.vector(table), begins, *sizes, p.f32(node.output), span)
    p.barrier()


@rule("mean_rows")
def _mean_rows(p: Lowering, node: Node) -> None:
    x = node.inputs[0]
    p.call("llmc_op_mean_rows", "s", p.f32(x), p.f32(node.output), columns(x), pad(columns(x)))
    p.barrier()
