"""The linear kernel for int8 activations: one generator for every block format and level.

A register tile is one vector of rows by up to 16 tokens (4 where there are 16 registers; then one or two tokens take several
vectors, so that a tile is read once). Per group of columns

    dot  = the int32 dot product of codes and activations, started from -offset * sum(activations)
    acc  = fma(f32(dot), scale * da, acc)
    acc  = fma(min, da * f32(sum(activations)), acc)                       where the format has mins

Nothing else touches an output, so its value depends on its own row and token only. The products with sums are the same for all
row tiles of a block; they are computed per token vector into a small buffer, 8 units at a time, so that the inner loop finds
them as memory operands.
"""

from dataclasses import dataclass
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels import streaming
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.unpack import Rows, dot_operands, operand
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, View, i64, let, load, loop, maybe_loop, optional, splat, store
from llmc.ir.quant import BlockFormat
from llmc.ir.tiles import DOTS, ROWS, UNIT, TileLayout
from llmc.target import Isa

_UNITS = 8  # whose sums are prepared together
_PAIRED_TOKENS = 2  # so few take blocks of 32 columns in pairs, nine whole cache lines of Q4_0: 0.914 -> 0.929 of a read loop
_TOGETHER = 4  # chains of dot products that are interleaved; 8 need more registers than there are


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    def body(p: SimpleNamespace) -> None:
        with constants(spec.format, isa):
            Q8(spec, isa, p).emit()

    return tir.prim_func(spec, isa, body)


@dataclass(frozen=True)
class Block:
    """A vector of rows of one block, and the f16 factors of those rows as floats."""

    rows: Rows
    d: Expr
    dmin: Expr | None

    def factors(self, group: Expr) -> tuple[Expr, Expr | None]:
        """Scale and min of a group."""
        return self.rows.scale(self.d, group), None if self.dmin is None else self.rows.minimum(self.dmin, group)


@dataclass(frozen=True)
class _Group:
    """A group of columns for one vector of rows: operands of its dot vectors, its factors, where in `words` the first token's
    activations start, and its slot in `starts` and `sums`."""

    codes: list[Expr]
    scale: Expr
    minimum: Expr | None
    words: Expr
    slot: Expr


class Q8:
    """One kernel being written: the facts, the views and the registers."""

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        assert isinstance(spec.format, BlockFormat)
        self.format, self.isa, self.p, self.width = spec.format, isa, p, spec.p
        self.layout = TileLayout(spec.format)
        self.operand = operand(spec.format, isa)
        self.lanes = isa.lanes
        self.tokens = min(spec.p, 16 if isa.lanes == 16 else _TOGETHER)
        self.vectors = max(1, min(ROWS // self.lanes, _TOGETHER // self.tokens))  # of rows
        self.halves = max(1, UNIT // spec.format.group)  # groups in a unit
        assert spec.format.group <= UNIT or spec.format.groups == 1
        self.words = tir.view(p.qa, "int32")  # four activations each
        self.stride = DOTS  # words from one token of a unit to the next
        self.acc = tir.local(self.vectors * self.tokens * self.lanes, "float32")
        self.minsum = tir.local(self.vectors * self.tokens * self.lanes, "float32") if spec.format.min else None
        self.stream: streaming.Stream | None = None
        self.starts = tir.local(_UNITS * self.halves * self.tokens, "int32")
        self.sums = tir.local(_UNITS * self.halves * self.tokens, "float32")

    def emit(self) -> None:
        p = self.p
        self.nb = let(tir.shifted(p.k, -5))
        self.blocks = let(p.k // self.format.weights)
        rows = self.lanes * self.vectors
        with loop(p.tile_lo, p.tile_hi) as tile, loop(p.mt_lo, p.mt_hi) as mt:
            with maybe_loop(self.width // self.tokens) as part, maybe_loop(ROWS // rows) as group:
                self.start = let(i64(tile) * i64(self.blocks) * i64(self.layout.nbytes))
                self.first_row, self.first_token = group * rows, part * self.tokens
                self.activations = let(i64(mt) * i64(self.nb) * i64(self.width))  # where the token tile starts in da
                self.clear()
                self.columns()
                self.finish(let(tile * ROWS + self.first_row), i64(mt) * i64(self.width) + i64(self.first_token))

    def clear(self) -> None:
        for i in range(self.vectors * self.tokens):
            store(self.acc, i * self.lanes, tir.f32(0.0, self.lanes))
            if self.minsum is not None:
                store(self.minsum, i * self.lanes, tir.f32(0.0, self.lanes))

    def columns(self) -> None:
        """Adds all columns, eight units at a time: a super-block, or up to eight small ones."""
        if self.layout.units == _UNITS:
            with loop(0, self.blocks) as block:
                self.prepare(block * _UNITS, _UNITS)
                self.units(self.block(block), block)
            return
        per = self.layout.units
        together = _UNITS // per  # blocks
        with loop(0, tir.shifted(self.blocks + (together - 1), 1 - together.bit_length())) as chunk:
            first = let(chunk * together)
            count = let(tir.minimum(self.blocks - first, tir.i32(together)))
            self.prepare(first * per, count * per)
            if per == 1 and self.tokens <= _PAIRED_TOKENS:
                self.pairs(first, count)
            else:
                with loop(0, count) as i:
                    self.small_block(first, i)

    def pairs(self, first: Expr, count: Expr) -> None:
        """Adds `count` blocks of 32 columns two at a time, and one if there is one left."""
        with loop(0, tir.shifted(count, -1)) as pair:
            self.prefetch(self.rows(let(first + pair * 2)), 0, 2)
            for i in range(2):
                self.small_block(first, let(pair * 2 + i))
        with tir.when(tir.masked(count, 1) != 0):
            self.small_block(first, let(count - 1))

    def small_block(self, first: Expr, i: Expr) -> None:
        """Adds block first + i, whose first unit has number i of the chunk."""
        per = self.layout.units
        block = let(first + i)
        rows = self.block(block)
        with maybe_loop(per) as unit:
            self.unit(rows, unit, block * per + unit, i * per + unit)

    def units(self, rows: list[Block], block: Expr) -> None:
        """Adds a super-block."""
        unrolled = self.units_together()
        with loop(0, _UNITS // unrolled) as part:
            self.prefetch(rows[0].rows, part * unrolled, unrolled)
            for unit in (let(part * unrolled + i) for i in range(unrolled)):
                self.unit(rows, unit, block * _UNITS + unit, unit)

    def units_together(self) -> int:
        """Units to unroll. For one or two tokens extracting the scale codes is a good part of the work: those that share a
        stored vector are taken together, which makes the shifts constants (Q4_K from the second-level cache: 34 -> 44 GB/s)."""
        if self.tokens > 2 or self.layout.scale is None:
            return 1
        sharing = max(1, max(plane.per for plane in self.layout.scale.planes) // self.halves)
        return min(sharing, max(1, _TOGETHER // self.vectors))

    def block(self, block: Expr) -> list[Block]:
        """The vectors of rows of a block, with their factors."""
        found = []
        for v in range(self.vectors):
            rows = self.rows(block, v)
            found.append(Block(rows, rows.d(), rows.dmin() if self.format.min else None))
        return found

    def rows(self, block: Expr, v: int = 0) -> Rows:
        """Vector `v` of the rows of a block."""
        start = let(self.start + i64(block) * i64(self.layout.nbytes))
        return Rows(self.isa, self.layout, self.p.w, start, self.first_row + v * self.lanes, self.lanes)

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

    def unit(self, vectors: list[Block], unit: Expr, column: Expr, slot: Expr) -> None:
        """Adds 32 columns: unit `unit` of the block, unit `column` of the activations, sums in `slot`."""
        activations = let(self.at(column))
        words = let(activations * i64(DOTS))
        per = DOTS // self.halves
        self.prefetch(vectors[0].rows, unit)
        for v, block in enumerate(vectors):
            codes = dot_operands(self.format, self.isa, block.rows.dots(unit))
            groups = []
            for h in range(self.halves):
                start = (slot * self.halves + h) * self.tokens
                factors = block.factors(unit * self.halves + h if self.format.group <= UNIT else tir.i32(0))
                groups.append(_Group(codes[h * per : (h + 1) * per], *factors, words + i64(h * per), start))
            for first in range(0, self.tokens, _TOGETHER):  # tokens outside: the other way round is 10 % slower for two groups
                for group in groups:
                    self.group(v, group, activations, range(first, min(first + _TOGETHER, self.tokens)))

    def prefetch(self, rows: Rows, unit: Expr, units: int = 1) -> None:
        """Begins to ask for the bytes of some units, some way ahead: what lies there is this matrix, row tile after row tile.
        `dot` goes on with it. Nothing to do where units that were begun together still are."""
        if self.width > streaming.TOKENS or (self.stream and not self.stream.ended):
            return
        share = -(-self.layout.nbytes // self.layout.units)
        dots = self.vectors * self.tokens * (DOTS if self.isa.dot == "vnni" else self.halves)
        self.stream = streaming.Stream(self.p.w, rows.start + i64(unit) * i64(share), share * units, dots * units)

    def group(self, v: int, group: _Group, activations: Expr, tokens: range) -> None:
        """Adds a group of columns for vector `v` of rows and some tokens."""
        starts = [self.start_of(group.slot + t) for t in tokens]
        for t, total in zip(tokens, self.totals(group.codes, group.words, starts, tokens), strict=True):
            da = splat(load(self.p.da, activations + i64(t)), self.lanes)
            self.add(self.acc, v, t, tir.convert(total, "float32"), group.scale * da)
            if group.minimum is not None:
                self.add(self.minsum, v, t, group.minimum, splat(load(self.sums, group.slot + t), self.lanes))

    def totals(self, codes: list[Expr], words: Expr, starts: list[Expr], tokens: range) -> list[Expr]:
        """The dot products of some tokens and what they start from, as `_TOGETHER` interleaved chains of instructions, so that
        they need not wait for one another; whole numbers, so it does not matter to the result which chain a product is in."""
        count = len(codes)
        chains = max(1, min(_TOGETHER // len(tokens), count // 2)) if self.isa.dot == "vnni" else 1
        step = 1 if self.isa.dot == "vnni" else count
        zero = tir.i32(0, self.lanes)
        totals = [[start] + [zero] * (chains - 1) for start in starts]
        for j in range(0, count, step):
            for t, chain in zip(tokens, totals, strict=True):
                values = [self.activation(words + i64(t * self.stride + n)) for n in range(j, j + step)]
                chain[j % chains] = self.dot(chain[j % chains], codes[j : j + step], values)
        return [sum(chain[1:], chain[0]) for chain in totals]

    def start_of(self, at: Expr) -> Expr:
        return let(splat(load(self.starts, at), self.lanes)) if self.operand.offset else tir.i32(0, self.lanes)

    def activation(self, at: Expr) -> Expr:
        return tir.bits(splat(load(self.words, at), self.lanes), "int8")

    def dot(self, total: Expr, weights: list[Expr], values: list[Expr], times: Expr | None = None) -> Expr:
        if self.operand.signed:
            total = tir.dot_s8s8(self.isa, total, weights, values, times)
        else:
            total = tir.dot_u8s8(self.isa, total, weights, values, self.operand.largest, times)
        if self.stream:
            self.stream.step()
        return total

    def add(self, sums: View, v: int, t: int, a: Expr, b: Expr) -> None:
        at = (v * self.tokens + t) * self.lanes
        store(sums, at, tir.fma(self.isa, a, b, load(sums, at, self.lanes)))

    def finish(self, first_row: Expr, first_token: Expr) -> None:
        for v in range(self.vectors):
            row = let(first_row + v * self.lanes)
            bias = let(optional(self.p.bias, row, self.lanes))
            for t in range(self.tokens):
                at = (v * self.tokens + t) * self.lanes
                value = load(self.acc, at, self.lanes)
                if self.minsum is not None:
                    value = value + load(self.minsum, at, self.lanes)
                value = (value + bias) * splat(self.p.scale, self.lanes)
                store(self.p.y, (first_token + i64(t)) * i64(self.p.ldy) + i64(row), value)
