"""Lowering of multi-head latent attention: the ops of runtime/src/ops_latent.h."""

from __future__ import annotations

from llmc.codegen.kernels.latent_append import LatentAppend
from llmc.codegen.kernels.latent_attention import LatentAttention
from llmc.codegen.lowering import Lowering, c_float, columns, pad, rule
from llmc.ir.graph import Node
from llmc.ir.tiles import packed_bytes
from llmc.ir.types import DType


@rule("head_linear")
def _head_linear(p: Lowering, node: Node) -> None:
    """The fields of llmc_head_linear."""
    x, weight, *beside = node.inputs
    fmt = weight.type.dtype
    assert not isinstance(fmt, DType)
    heads, n, k = map(int, weight.type.shape)
    fields = {
        "kernels": p.linear_kernels(fmt, "f32"), "w": p.weight(weight), "bytes": f"INT64_C({packed_bytes(fmt, n, k)})",
        "heads": heads, "n": n, "k": k, "width": node.attrs["width"], "x": p.f32(x), "y": p.f32(node.output),
        "ldx": pad(columns(x)), "ldy": pad(columns(node.output)), "tokens": p.tokens(x),
    }  # fmt: skip
    for tail in beside:
        fields |= {"beside": p.f32(tail), "tail": columns(tail) // heads, "ldb": pad(columns(tail))}
    p.call("llmc_op_head_linear", p.fields("llmc_head_linear", fields))
    p.barrier()


@rule("latent_append")
def _latent_append(p: Lowering, node: Node) -> None:
    _, latent, rotated = node.inputs
    fn = p.kernel(LatentAppend(columns(latent), columns(rotated), node.attrs["dtype"]))
    rows = p.f32(latent), p.f32(rotated), "NULL"
    p.call("llmc_op_kv_append", "s", fn, *rows, p.layer_cache(node), pad(columns(latent)), pad(columns(rotated)))
    p.barrier()


@rule("latent_attention")
def _latent_attention(p: Lowering, node: Node) -> None:
    """The heads are dealt to workers in groups: llmc_layer_cache.kv_heads says how many."""
    a, q = node.attrs, node.inputs[0]
    specs = LatentAttention.variants(a["head_dim"], a["value_dim"], a["heads"], a["dtype"])
    groups = a["heads"] // specs[0].heads_per_kv
    fns, o = p.kernel(*specs, member=specs[0].symbol), p.f32(node.output)
    lds = pad(columns(q)), pad(columns(node.output))
    cache = p.layer_cache(node, groups)
    p.call("llmc_op_attention", "s", fns, specs[1].tokens, p.f32(q), "NULL", o, cache, *lds, c_float(a["scale"]), c_float(0.0), 0)
    p.barrier()
