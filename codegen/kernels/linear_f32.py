"""The linear kernel for f32 activations: dense weights, and block formats decoded to exactly the floats the checkpoint means.

A register tile is some vectors of rows by some tokens; columns are taken in ascending order, one multiply-add each, so an output
is one chain of operations whatever the tile. Block formats decode a dot vector at a time, four columns of each row.
"""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels import streaming
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.unpack import Rows, decode, levels_of
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, i64, let, load, loop, splat, store
from llmc.ir.quant import BlockFormat, DenseFormat
from llmc.ir.tiles import DOTS, ROWS, TileLayout
from llmc.target import Isa

_ACCUMULATORS = {16: 16, 8: 8, 4: 8}  # by lanes: what leaves registers for weights


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    kind = _Dense if isinstance(spec.format, DenseFormat) else _Blocks

    def body(p: SimpleNamespace) -> None:
        with constants(spec.format, isa):
            kind(spec, isa, p).emit()

    return tir.prim_func(spec, isa, body)


class _F32:
    """One kernel being written; a subclass adds up the columns."""

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        self.isa, self.p, self.width = isa, p, spec.p
        self.lanes = isa.lanes
        self.vectors = ROWS // isa.lanes  # of rows
        self.tokens = min(spec.p, _ACCUMULATORS[isa.lanes] // self.vectors)
        self.acc = tir.local(self.vectors * self.tokens * self.lanes, "float32")

    def emit(self) -> None:
        p = self.p
        self.prepare()
        with loop(p.tile_lo, p.tile_hi) as tile, loop(p.mt_lo, p.mt_hi) as mt, loop(0, self.width // self.tokens) as part:
            self.token = let(i64(mt) * i64(self.width) + i64(part) * i64(self.tokens))
            self.x = [let((self.token + i64(t)) * i64(p.ldx)) for t in range(self.tokens)]
            for v in range(self.vectors * self.tokens):
                store(self.acc, v * self.lanes, tir.f32(0.0, self.lanes))
            self.columns(tile)
            self.finish(tile)

    def prepare(self) -> None:
        """Values common to all tiles."""

    def columns(self, tile: Expr) -> None:
        """Adds every column of the row tile."""
        raise NotImplementedError

    def add(self, v: int, weight: Expr, column: Expr) -> None:
        """Adds one column of row vector `v` to all tokens."""
        for t in range(self.tokens):
            at = (v * self.tokens + t) * self.lanes
            x = splat(load(self.p.x, self.x[t] + i64(column)), self.lanes)
            store(self.acc, at, tir.fma(self.isa, weight, x, load(self.acc, at, self.lanes)))

    def finish(self, tile: Expr) -> None:
        for v in range(self.vectors):
            row = let(tile * ROWS + v * self.lanes)
            bias = let(tir.optional(self.p.bias, row, self.lanes))
            for t in range(self.tokens):
                value = (load(self.acc, (v * self.tokens + t) * self.lanes, self.lanes) + bias) * splat(self.p.scale, self.lanes)
                store(self.p.y, (self.token + i64(t)) * i64(self.p.ldy) + i64(row), value)


class _Dense(_F32):
    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        super().__init__(spec, isa, p)
        self.name = spec.format.name
        self.size = spec.format.nbytes
        self.w = tir.view(p.w, tir.dense_element(self.name))

    def columns(self, tile: Expr) -> None:
        start = let(i64(tile) * i64(self.p.k) * i64(ROWS))
        with loop(0, self.p.k) as k:
            if self.width <= streaming.TOKENS:
                for stage in streaming.STAGES:
                    tir.prefetch(self.w, start + i64(k) * i64(ROWS) + i64(stage.nbytes // self.size), level=stage.level)
            for v in range(self.vectors):
                stored = load(self.w, start + i64(k) * i64(ROWS) + i64(v * self.lanes), self.lanes)
                self.add(v, let(tir.dense_to_f32(self.isa, self.name, stored)), k)


class _Blocks(_F32):
    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        super().__init__(spec, isa, p)
        assert isinstance(spec.format, BlockFormat)
        self.format = spec.format
        self.layout = TileLayout(spec.format)

    def prepare(self) -> None:
        self.blocks = let(self.p.k // self.format.weights)

    def columns(self, tile: Expr) -> None:
        start = let(i64(tile) * i64(self.blocks) * i64(self.layout.nbytes))
        with loop(0, self.blocks) as block:
            at = let(start + i64(block) * i64(self.layout.nbytes))
            vectors = [Rows(self.isa, self.layout, self.p.w, at, v * self.lanes, self.lanes) for v in range(self.vectors)]
            headers = [(rows.d(), rows.dmin() if self.format.min else None) for rows in vectors]
            with loop(0, self.format.groups) as group:
                factors = [self.factors(rows, *header, group) for rows, header in zip(vectors, headers, strict=True)]
                with loop(0, self.format.group // 4) as i:
                    dot = let(group * (self.format.group // 4) + i)  # in the block
                    self.dot(vectors, factors, dot, let(block * self.format.weights + dot * 4))

    def factors(self, rows: Rows, d: Expr, dmin: Expr, group: Expr) -> tuple[Expr, Expr]:
        return rows.scale(d, group), rows.minimum(dmin, group) if self.format.min else None

    def dot(self, vectors: list[Rows], factors: list[tuple[Expr, Expr]], dot: Expr, column: Expr) -> None:
        """Adds the four columns of a dot vector."""
        unit, i = let(tir.shifted(dot, -3)), let(tir.masked(dot, DOTS - 1))
        for v, rows in enumerate(vectors):
            codes = levels_of(self.format, rows.dot(unit, i))
            for c in range(4):
                self.add(v, decode(self.format, self.isa, codes, c, *factors[v]), column + c)
