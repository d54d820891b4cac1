"""The embedding kernel: one row at a time, four columns at a time where the format stores them together."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.embed import Embed
from llmc.codegen.kernels.unpack import Rows, four_levels
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, i64, let, load, loop, splat, store
from llmc.ir.quant import BlockFormat, DenseFormat
from llmc.ir.tiles import DOTS, ROWS, TileLayout
from llmc.target import Isa

_COLUMNS = 4  # of a dot vector


def generate(spec: Embed, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _tokens(spec, isa, p))


def _tokens(spec: Embed, isa: Isa, p: SimpleNamespace) -> None:
    with constants(spec.format, isa), loop(p.lo, p.hi) as t:
        row = let(load(p.ids, t))
        tile, lane = let(tir.shifted(row, -4)), let(tir.masked(row, ROWS - 1))
        out = let(i64(t) * i64(p.ldy))
        if isinstance(spec.format, DenseFormat):
            _dense_row(spec.format, isa, p, tile, lane, out)
        else:
            _block_row(spec.format, isa, p, tile, lane, out)
        with loop(p.k, p.ldy) as column:
            store(p.y, out + i64(column), tir.f32(0.0))


def _dense_row(fmt: DenseFormat, isa: Isa, p: SimpleNamespace, tile: Expr, lane: Expr, out: Expr) -> None:
    w = tir.view(p.w, tir.dense_element(fmt.name))
    start = let(i64(tile) * i64(p.k) * i64(ROWS) + i64(lane))
    with loop(0, p.k) as column:
        value = tir.dense_to_f32(isa, fmt.name, load(w, start + i64(column) * i64(ROWS)))
        store(p.y, out + i64(column), value * p.scale)


def _block_row(fmt: BlockFormat, isa: Isa, p: SimpleNamespace, tile: Expr, lane: Expr, out: Expr) -> None:
    layout = TileLayout(fmt)
    blocks = let(p.k // fmt.weights)
    start = let(i64(tile) * i64(blocks) * i64(layout.nbytes))
    dots = fmt.group // _COLUMNS
    with loop(0, blocks) as block:
        rows = Rows(isa, layout, p.w, let(start + i64(block) * i64(layout.nbytes)), lane, 1)
        d, dmin = rows.d(), rows.dmin() if fmt.min else None
        with loop(0, fmt.groups) as group:
            scale = splat(rows.scale(d, group), _COLUMNS)
            minimum = splat(rows.minimum(dmin, group), _COLUMNS) if fmt.min else None
            with loop(0, dots) as i:
                dot = let(group * dots + i)
                codes = rows.dot(tir.shifted(dot, -3), tir.masked(dot, DOTS - 1))
                levels = four_levels(fmt, isa, codes)
                weight = levels * scale if minimum is None else tir.fma(isa, levels, scale, minimum)
                store(p.y, out + i64(block * fmt.weights + dot * _COLUMNS), weight * splat(p.scale, _COLUMNS))
