"""Lowering of multi-head latent attention."""

from __future__ import annotations

from llmc.codegen.gpu.kernels.latent import GpuHeadLinear, GpuLatentAppend
from llmc.codegen.gpu.kernels.latent_attention import GpuLatentAttention
from llmc.codegen.gpu.lower import _columns, _format, _ld, _Lowering, _rule, attend, by_width
from llmc.codegen.kernels.latent_append import LatentAppend
from llmc.ir.graph import Node
from llmc.ir.storage import TILE, align


@_rule("head_linear", attrs="width")
def _head_linear(p: _Lowering, node: Node) -> None:
    x, weight, *beside = node.inputs
    heads, n, k = map(int, weight.type.shape)
    tail = beside[0] if beside else None
    sizes = heads, n, k, node.attrs["width"], _columns(tail) // heads if tail else 0, align(n, TILE) // TILE
    lds, y = (_ld(x), _ld(tail) if tail else 0, _ld(node.output)), p.f32(node.output)
    by_width(
        p, p.tokens(x),
        lambda width: p.launch(
            GpuHeadLinear(_format(weight), width), p.weight(weight), p.f32(x), p.f32(tail), y, *sizes, *lds, p.tokens(x)
        ),
    )  # fmt: skip


@_rule("latent_append", attrs="layer dtype head_dim kv_heads")
def _latent_append(p: _Lowering, node: Node) -> None:
    _, latent, rotated = node.inputs
    kv, tables, page_bytes = p.layer(node)
    p.launch(
        GpuLatentAppend(LatentAppend(_columns(latent), _columns(rotated), node.attrs["dtype"])),
        p.f32(latent), p.f32(rotated), kv, tables, "s->sequence", "s->positions", _ld(latent), _ld(rotated), "s->table_stride",
        page_bytes, p.tokens(latent),
    )  # fmt: skip


@_rule("latent_attention", attrs="layer heads kv_heads head_dim value_dim dtype scale")
def _latent_attention(p: _Lowering, node: Node) -> None:
    a = node.attrs
    whole, split = (GpuLatentAttention(a["head_dim"], a["value_dim"], a["heads"], a["dtype"], parts) for parts in (False, True))
    attend(p, node, whole, split, "0", 1, ("0", 0))
