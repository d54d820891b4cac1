"""The linear kernel for int8 activations: one generator for every block format and level.

A register tile is `lanes` rows by up to 16 tokens (4 where there are 16 registers). Per group of columns

    dot  = the int32 dot product of codes and activations, started from -offset * sum(activations)
    acc  = fma(f32(dot), scale * da, acc)
    acc  = fma(min, da * f32(sum(activations)), acc)                       where the format has mins

Nothing else touches an output, so its value depends on its own row and token only. The products with sums are the same for all
row tiles of a block; they are computed per token vector into a small buffer, 8 units at a time, so that the inner loop finds
them as memory operands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.unpack import Rows, dot_operands, operand
from llmc.codegen.tir import Expr, i64, let, load, loop, splat, store
from llmc.ir.quant import BlockFormat
from llmc.ir.tiles import DOTS, ROWS, UNIT, TileLayout
from llmc.target import Isa

_UNITS = 8  # whose sums are prepared together
_TOGETHER = 4  # chains of dot products that are interleaved; 8 need more registers than there are


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Q8(spec, isa, p).emit())


class _Q8:
    """One kernel being written: the facts, the views and the registers."""

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        assert isinstance(spec.format, BlockFormat)
        self.format, self.isa, self.p, self.width = spec.format, isa, p, spec.p
        self.layout = TileLayout(spec.format)
        self.operand = operand(spec.format, isa)
        self.lanes = isa.lanes
        self.tokens = min(spec.p, 16 if isa.lanes == 16 else 4)
        self.halves = UNIT // spec.format.group  # groups in a unit
        self.words = tir.view(p.qa, "int32")  # four activations each
        self.acc = tir.local(self.tokens * self.lanes, "float32")
        self.starts = tir.local(_UNITS * self.halves * self.tokens, "int32")
        self.sums = tir.local(_UNITS * self.halves * self.tokens, "float32")

    def emit(self) -> None:
        p = self.p
        self.nb = let(tir.shifted(p.k, -5))
        blocks = let(p.k // self.format.weights)
        with loop(p.tile_lo, p.tile_hi) as tile, loop(p.mt_lo, p.mt_hi) as mt:
            with _maybe_loop(self.width // self.tokens) as part, _maybe_loop(ROWS // self.lanes) as group:
                self.first_token = part * self.tokens
                self.first_row = group * self.lanes
                self.mt = mt
                self.activations = let(i64(mt) * i64(self.nb) * i64(self.width))  # of this token tile, in units of columns
                self.start = let(i64(tile) * i64(blocks) * i64(self.layout.nbytes))
                self.register_tile(blocks)
                self.finish(tile)

    def register_tile(self, blocks: Expr) -> None:
        for t in range(self.tokens):
            store(self.acc, t * self.lanes, tir.f32(0.0, self.lanes))
        if self.layout.units == 1:
            self.small_blocks(blocks)
        else:
            self.super_blocks(blocks)

    def super_blocks(self, blocks: Expr) -> None:
        assert self.layout.units == _UNITS
        with loop(0, blocks) as block:
            self.prepare(block * _UNITS, _UNITS)
            rows = self.rows(block)
            d, dmin = self.header(rows)
            unrolled = self.units_together()
            with loop(0, _UNITS // unrolled) as part:
                for unit in (let(part * unrolled + i) for i in range(unrolled)):
                    self.unit(rows, d, dmin, unit, block * _UNITS + unit, unit)

    def units_together(self) -> int:
        """Units to unroll. For one or two tokens extracting the scale codes is a good part of the work: those that share a
        stored vector are taken together, which makes the shifts constants (Q4_K from the second-level cache: 34 -> 44 GB/s)."""
        if self.tokens > 2 or self.layout.scale is None:
            return 1
        return max(1, max(plane.per for plane in self.layout.scale.planes) // self.halves)

    def small_blocks(self, blocks: Expr) -> None:
        with loop(0, tir.shifted(blocks + (_UNITS - 1), -3)) as chunk:
            first = let(chunk * _UNITS)
            count = let(tir.minimum(blocks - first, tir.i32(_UNITS)))
            self.prepare(first, count)
            with loop(0, count) as i:
                block = let(first + i)
                rows = self.rows(block)
                self.unit(rows, *self.header(rows), 0, block, i)

    def rows(self, block: Expr) -> Rows:
        start = let(self.start + i64(block) * i64(self.layout.nbytes))
        return Rows(self.isa, self.layout, self.p.w, start, self.first_row, self.lanes)

    def header(self, rows: Rows) -> tuple[Expr, Expr]:
        return rows.d(), rows.dmin() if self.format.min else None

    def prepare(self, first: Expr, count: Expr) -> None:
        """Fills `starts` and `sums` for units [first, first + count) of the columns, all tokens of the register tile."""
        with loop(0, count) as i:
            unit = let(first + i)
            halves = [load(self.p.sa, self.at(unit * 2 + h, 2), self.tokens) for h in range(2)]
            groups = halves if self.halves == 2 else [halves[0] + halves[1]]
            da = load(self.p.da, self.at(unit), self.tokens)
            for h, total in enumerate(map(let, groups)):
                slot = (i * self.halves + h) * self.tokens
                if self.operand.offset:
                    shift = self.operand.offset.bit_length() - 1
                    store(self.starts, slot, tir.i32(0, self.tokens) - tir.shifted(total, shift))
                if self.format.min:
                    store(self.sums, slot, tir.convert(total, "float32") * da)

    def at(self, unit: Expr, per_unit: int = 1) -> Expr:
        """Index of the register tile's first token in da, or in sa with two sums per unit."""
        return self.activations * i64(per_unit) + i64(unit) * i64(self.width) + i64(self.first_token)

    def unit(self, rows: Rows, d: Expr, dmin: Expr, unit: Expr, column: Expr, slot: Expr) -> None:
        """Adds 32 columns: unit `unit` of the block, unit `column` of the activations, sums in `slot`."""
        weights = dot_operands(self.format, self.isa, rows.dots(unit))
        groups = [unit * self.halves + h for h in range(self.halves)]
        scales = [rows.scale(d, g) for g in groups]
        mins = [rows.minimum(dmin, g) if self.format.min else None for g in groups]
        activations = let(self.at(column))
        words = let(activations * i64(DOTS))
        for first in range(0, self.tokens, _TOGETHER):
            for h in range(self.halves):
                tokens = range(first, min(first + _TOGETHER, self.tokens))
                at = (slot * self.halves + h) * self.tokens
                per = DOTS // self.halves
                totals = self.dots(weights[h * per : (h + 1) * per], words + i64(h * per), at, tokens)
                for t, total in zip(tokens, totals, strict=True):
                    da = splat(load(self.p.da, activations + i64(t)), self.lanes)
                    self.add(t, tir.convert(total, "float32"), scales[h] * da)
                    if mins[h] is not None:
                        self.add(t, mins[h], splat(load(self.sums, at + t), self.lanes))

    def dots(self, weights: list[Expr], words: Expr, starts: Expr, tokens: range) -> list[Expr]:
        """The dot products of some tokens as `_TOGETHER` interleaved chains of instructions, so that they need not wait for
        one another; whole numbers, so it does not matter to the result which chain a product is in."""
        chains = max(1, min(_TOGETHER // len(tokens), len(weights) // 2)) if self.isa.dot == "vnni" else 1
        step = 1 if self.isa.dot == "vnni" else len(weights)
        zero = tir.i32(0, self.lanes)
        totals = [[self.start_of(starts + t)] + [zero] * (chains - 1) for t in tokens]
        for j in range(0, len(weights), step):
            for t, chain in zip(tokens, totals, strict=True):
                values = [self.activation(words + i64(t * DOTS + n)) for n in range(j, j + step)]
                chain[j % chains] = self.dot(chain[j % chains], weights[j : j + step], values)
        return [sum(chain[1:], chain[0]) for chain in totals]

    def start_of(self, at: Expr) -> Expr:
        return let(splat(load(self.starts, at), self.lanes)) if self.operand.offset else tir.i32(0, self.lanes)

    def activation(self, at: Expr) -> Expr:
        return tir.bits(splat(load(self.words, at), self.lanes), "int8")

    def dot(self, total: Expr, weights: list[Expr], values: list[Expr]) -> Expr:
        if self.operand.signed:
            return tir.dot_s8s8(self.isa, total, weights, values)
        return tir.dot_u8s8(self.isa, total, weights, values, self.operand.largest)

    def add(self, t: int, a: Expr, b: Expr) -> None:
        at = t * self.lanes
        store(self.acc, at, tir.fma(self.isa, a, b, load(self.acc, at, self.lanes)))

    def finish(self, tile: Expr) -> None:
        p = self.p
        row = let(tile * ROWS + self.first_row)
        zeros = tir.f32(0.0, self.lanes)
        bias = let(tir.either_way(tir.is_null(p.bias), zeros, load(p.bias, row, self.lanes)))
        for t in range(self.tokens):
            value = (load(self.acc, t * self.lanes, self.lanes) + bias) * splat(p.scale, self.lanes)
            token = i64(self.mt) * i64(self.width) + i64(self.first_token) + i64(t)
            store(p.y, token * i64(p.ldy) + i64(row), value)


@contextmanager
def _maybe_loop(count: int) -> Iterator[Expr]:
    """A loop of `count`, or none where there is only one turn."""
    if count == 1:
        yield 0
        return
    with loop(0, count) as i:
        yield i
