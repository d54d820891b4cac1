"""The linear kernel for int8 activations and sixteen tokens: prefill, where arithmetic is the limit and not memory.

Weights are unpacked once for eight token tiles: of a row tile, the codes of up to 32 units go to the stack as operands of a byte
product, beside the factors of their groups; then every token tile runs over them. Two passes:

    mins += fma(min, da * f32(sum(activations)))          all groups, where the format has mins
    acc  += fma(f32(dot), scale * da)                      all groups

and at the end acc + mins. That is the order of linear_q8.py, to the bit. `dot` comes from the level's dot instruction or, where
there are matrix tiles (AMX), from one tile product per group: 16 tokens x 32 columns times 32 columns x 16 rows. A tile
instruction takes one of two ports from the float instructions of the next 250 cycles or so (Sapphire Rapids). Products are
therefore mixed with the floats that wait for them anyway, and mins have a pass of their own, at the full rate.
"""

from collections.abc import Callable
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.unpack import Rows, dot_operands, operand
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, View, i64, let, load, loop, splat, store
from llmc.ir.quant import BlockFormat
from llmc.ir.tiles import DOT_BYTES, DOTS, ROWS, UNIT, TileLayout
from llmc.target import Isa

TOKENS = 16
UNITS = 32  # unpacked together
TOKEN_TILES = 8  # that share what was unpacked
TOGETHER = 4  # tokens whose chains of dot products are interleaved
_PRODUCTS = 4  # tile products on the stack
_TOTAL, _ACTIVATIONS, _WEIGHTS = 0, 2, 4  # matrix tiles, two of each


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    def body(p: SimpleNamespace) -> None:
        with constants(spec.format, isa):
            kind = _Tiles if isa.tiles else _Vectors
            kind(spec, isa, p).emit()

    return tir.prim_func(spec, isa, body)


class Wide:
    """One kernel being written; a subclass unpacks blocks and adds up the products of a token tile.

    On the stack: acc f32 [token tile][16 tokens][16 rows].
    """

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        assert isinstance(spec.format, BlockFormat)
        self.format, self.isa, self.p = spec.format, isa, p
        self.layout = TileLayout(spec.format)
        self.operand = operand(spec.format, isa)
        self.lanes = isa.lanes
        self.tokens = TOKENS if isa.lanes == TOKENS else TOGETHER  # in registers
        self.halves = max(1, UNIT // spec.format.group)  # groups in a unit
        self.acc = floats(TOKEN_TILES * TOKENS)

    def emit(self) -> None:
        p = self.p
        self.nb = let(tir.shifted(p.k, -5))
        blocks = let(p.k // self.format.weights)
        with loop(p.tile_lo, p.tile_hi) as tile:
            start = let(i64(tile) * i64(blocks) * i64(self.layout.nbytes))
            with loop(0, (p.mt_hi - p.mt_lo + (TOKEN_TILES - 1)) // TOKEN_TILES) as part:
                self.first = let(p.mt_lo + part * TOKEN_TILES)
                count = let(tir.minimum(p.mt_hi - self.first, tir.i32(TOKEN_TILES)))
                with loop(0, (self.nb + (UNITS - 1)) // UNITS) as chunk:
                    self.chunk(tile, start, chunk, count)
                with loop(0, count) as slot:
                    self.finish(tile, slot)

    def chunk(self, tile: Expr, start: Expr, chunk: Expr, count: Expr) -> None:
        """Adds up to UNITS units of columns for `count` token tiles."""
        self.kept = let(tir.select(chunk == 0, tir.i32(0), tir.i32(-1)))  # bits of sums: none of what the stack held before
        self.unit = let(chunk * UNITS)
        self.units = let(tir.minimum(self.nb - self.unit, tir.i32(UNITS)))
        self.unpack(start)
        self.add_chunk(tile, count)

    def add_chunk(self, tile: Expr, count: Expr) -> None:
        """Adds the chunk to `count` token tiles."""
        with loop(0, count) as slot:
            with tir.when(self.last):
                self.ask_for_results(tile, slot)
            self.add_products(slot)

    @property
    def last(self) -> Expr:
        """Whether this chunk is the last one."""
        return self.unit + self.units >= self.nb

    def add_products(self, slot: Expr) -> None:
        raise NotImplementedError

    # ---- weights, once for all token tiles

    def unpack(self, start: Expr) -> None:
        per = self.layout.units
        with loop(0, self.units // per) as i:
            at = let(start + i64(self.unit // per + i) * i64(self.layout.nbytes))
            for v in range(ROWS // self.lanes):
                rows = Rows(self.isa, self.layout, self.p.w, at, v * self.lanes, self.lanes)
                self.unpack_block(rows, i)

    def unpack_block(self, rows: Rows, block: Expr) -> None:
        """Some rows of number `block` of the chunk."""
        d, dmin = rows.d(), rows.dmin() if self.format.min else None
        self.unpack_factors(rows, d, dmin, block)
        with tir.maybe_loop(self.layout.units) as unit:
            if rows.first == 0:
                self.ask_for_weights(rows.start, unit)
            self.unpack_unit(rows, d, dmin, unit, block * self.layout.units + unit)

    def unpack_factors(self, rows: Rows, d: Expr, dmin: Expr | None, block: Expr) -> None:
        """What is kept once for a block."""

    def unpack_unit(self, rows: Rows, d: Expr, dmin: Expr | None, unit: Expr, slot: Expr) -> None:
        """Unit `unit` of a block becomes number `slot` of the chunk, for some rows."""
        raise NotImplementedError

    def keep_codes(self, rows: Rows, unit: Expr, slot: Expr, codes: View) -> None:
        """Operands of a unit's byte products."""
        for j, operands in enumerate(dot_operands(self.format, self.isa, rows.dots(unit))):
            store(codes, (slot * DOTS + j) * DOT_BYTES + rows.first * 4, tir.bits(operands, "uint8"))

    def ask_for_weights(self, at: Expr, unit: Expr) -> None:
        """A unit's share of bytes of the next chunk, or row tile: they come from memory while this one is multiplied."""
        share = -(-self.layout.nbytes // self.layout.units)
        ahead = let(at + i64(unit) * i64(share) + i64(UNITS * share))
        for line in range(0, share, tir.CACHE_LINE):
            tir.prefetch(self.p.w, ahead + i64(line))

    # ---- one token tile

    def activations(self, slot: Expr) -> Expr:
        """Where the units of the chunk start in da for a token tile; 32 times as far in qa, twice in sa."""
        return let(i64(self.first + slot) * i64(self.nb * TOKENS) + i64(self.unit * TOKENS))

    def totals(self, at: Expr, unit: Expr, token: int) -> list[Expr]:
        """The sums of the activations of each group of a unit, i32 lanes of tokens."""
        halves = [load(self.p.sa, (at + i64(unit * TOKENS)) * i64(2) + i64(h * TOKENS + token), self.lanes) for h in range(2)]
        return [let(x) for x in (halves if self.halves == 2 else [halves[0] + halves[1]])]

    def each_group_of_tokens(self, at: Expr, body: Callable[[Expr, Expr, Expr], None]) -> None:
        """body(index, totals, da) for all groups of the chunk and vectors of tokens; index [group][token]."""
        with loop(0, self.units) as unit:
            for token in range(0, TOKENS, self.lanes):
                da = load(self.p.da, at + i64(unit * TOKENS + token), self.lanes)
                for h, total in enumerate(self.totals(at, unit, token)):
                    body((unit * self.halves + h) * TOKENS + token, total, da)

    def ask_for_results(self, tile: Expr, slot: Expr) -> None:
        """The lines of y, a row apart, come while the last columns are added."""
        for token in range(TOKENS):
            at = i64((self.first + slot) * TOKENS + token) * i64(self.p.ldy) + i64(tile * ROWS)
            tir.prefetch(self.p.y, at, write=True)

    def finish(self, tile: Expr, slot: Expr) -> None:
        p = self.p
        with tir.maybe_loop(ROWS // self.lanes) as vector, loop(0, TOKENS) as token:
            row = let(tile * ROWS + vector * self.lanes)
            at = let((slot * TOKENS + token) * ROWS + vector * self.lanes)
            value = (self.sum(at) + tir.optional(p.bias, row, self.lanes)) * splat(p.scale, self.lanes)
            store(p.y, i64((self.first + slot) * TOKENS + token) * i64(p.ldy) + i64(row), value)

    def sum(self, at: Expr) -> Expr:
        """A finished sum."""
        return load(self.acc, at, self.lanes)


class _Groups(Wide):
    """Blocks whose groups have scales that are floats.

    On the stack besides, up to 60 KB in all: codes u8 [unit][8][64]; scales and mins f32 [group][16 rows]; minsum as acc; and for
    one token tile sums f32 and starts i32 [group][16 tokens].
    """

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        super().__init__(spec, isa, p)
        groups = UNITS * self.halves
        self.codes = tir.view(tir.aligned(UNITS * DOTS), "uint8")
        self.scales = floats(groups)
        if self.format.min:
            self.mins, self.minsum, self.sums = floats(groups), floats(TOKEN_TILES * TOKENS), floats(groups)
        if self.operand.offset:
            self.starts = tir.aligned(groups)
        self.registers = tir.local(self.tokens * self.lanes, "float32")

    def unpack_unit(self, rows: Rows, d: Expr, dmin: Expr | None, unit: Expr, slot: Expr) -> None:
        """Unit `unit` of a block becomes number `slot` of the chunk, for some rows."""
        self.keep_codes(rows, unit, slot, self.codes)
        for h in range(self.halves):
            group = unit * self.halves + h if self.format.group <= UNIT else tir.i32(0)
            at = (slot * self.halves + h) * ROWS + rows.first
            store(self.scales, at, rows.scale(d, group))
            if dmin is not None:
                store(self.mins, at, rows.minimum(dmin, group))

    def add_chunk(self, tile: Expr, count: Expr) -> None:
        if self.format.min:
            with loop(0, count) as slot:
                self.add_mins(slot)
        super().add_chunk(tile, count)

    def sum(self, at: Expr) -> Expr:
        value = super().sum(at)
        return value + load(self.minsum, at, self.lanes) if self.format.min else value

    def add_mins(self, slot: Expr) -> None:
        at = self.activations(slot)
        self.each_group_of_tokens(at, lambda i, total, da: store(self.sums, i, tir.convert(total, "float32") * da))

        def column(first_token: Expr, first_row: Expr) -> None:
            with loop(0, self.units * self.halves) as group:
                minimum = let(load(self.mins, group * ROWS + first_row, self.lanes))
                for t in range(self.tokens):
                    self.add(t, minimum, splat(load(self.sums, group * TOKENS + first_token + t), self.lanes))

        self.add_up(self.minsum, slot, column)

    def add_up(self, memory: View, slot: Expr, column: Callable[[Expr, Expr], None]) -> None:
        """column(first token, first row) adds a chunk to sums that stand in registers meanwhile."""
        with tir.maybe_loop(TOKENS // self.tokens) as part, tir.maybe_loop(ROWS // self.lanes) as vector:
            token, row = part * self.tokens, vector * self.lanes
            place = [(slot * TOKENS + token + t) * ROWS + row for t in range(self.tokens)]
            for t, at in enumerate(place):
                before = tir.bits(load(memory, at, self.lanes), "int32") & splat(self.kept, self.lanes)
                store(self.registers, t * self.lanes, tir.bits(before, "float32"))
            column(token, row)
            for t, at in enumerate(place):
                store(memory, at, load(self.registers, t * self.lanes, self.lanes))

    def add(self, t: int, a: Expr, b: Expr) -> None:
        at = t * self.lanes
        store(self.registers, at, tir.fma(self.isa, a, b, load(self.registers, at, self.lanes)))

    def add_product(self, at: Expr, unit: Expr, t: int, token: Expr, dot: Expr, scale: Expr) -> None:
        da = splat(load(self.p.da, at + i64(unit * TOKENS + token + t)), self.lanes)
        self.add(t, tir.convert(dot, "float32"), scale * da)


class _Vectors(_Groups):
    """Dot products with the level's vector instructions."""

    def add_products(self, slot: Expr) -> None:
        at = self.activations(slot)
        words = tir.view(self.p.qa, "int32")
        if self.operand.offset:
            shift = self.operand.offset.bit_length() - 1
            zero = tir.i32(0, self.lanes)
            self.each_group_of_tokens(at, lambda i, total, da: store(self.starts, i, zero - tir.shifted(total, shift)))

        def column(first_token: Expr, first_row: Expr) -> None:
            with loop(0, self.units * self.halves) as group:
                per = DOTS // self.halves
                unit, half = (group, 0) if self.halves == 1 else (let(group // 2), let(group % 2))
                codes = [
                    let(load(self.codes, (group * per + j) * DOT_BYTES + first_row * 4, 4 * self.lanes)) for j in range(per)
                ]
                if self.operand.signed:
                    codes = [tir.bits(c, "int8") for c in codes]
                scale = let(load(self.scales, group * ROWS + first_row, self.lanes))
                base = let((at + i64(unit * TOKENS + first_token)) * i64(DOTS) + i64(half * per))
                for first in range(0, self.tokens, TOGETHER):
                    tokens = range(first, first + TOGETHER)
                    dots = [self.start(group * TOKENS + first_token + t) for t in tokens]
                    step = 1 if self.isa.dot == "vnni" else per
                    for j in range(0, per, step):
                        for i, t in enumerate(tokens):
                            values = [splat(load(words, base + i64(t * DOTS + n)), self.lanes) for n in range(j, j + step)]
                            dots[i] = self.dot(dots[i], codes[j : j + step], [tir.bits(v, "int8") for v in values])
                    for t, dot in zip(tokens, dots, strict=True):
                        self.add_product(at, unit, t, first_token, dot, scale)

        self.add_up(self.acc, slot, column)

    def start(self, at: Expr) -> Expr:
        return let(splat(load(self.starts, at), self.lanes)) if self.operand.offset else tir.i32(0, self.lanes)

    def dot(self, total: Expr, weights: list[Expr], values: list[Expr]) -> Expr:
        if self.operand.signed:
            return tir.dot_s8s8(self.isa, total, weights, values)
        return tir.dot_u8s8(self.isa, total, weights, values, self.operand.largest)


class _Tiles(_Groups):
    """Dot products of a whole group with one tile instruction. Even and odd groups use tiles of their own, so that one product
    can be stored while the next is made."""

    def emit(self) -> None:
        rows = DOTS // self.halves
        self.products = tir.aligned(_PRODUCTS * TOKENS)
        total, activations, weights = (TOKENS, DOT_BYTES), (TOKENS, 4 * rows), (rows, DOT_BYTES)
        tir.configure_tiles([total, total, activations, activations, weights, weights])
        super().emit()
        tir.release_tiles()

    def add_products(self, slot: Expr) -> None:
        at = self.activations(slot)
        groups = let(self.units * self.halves)

        def column(first_token: Expr, first_row: Expr) -> None:
            for parity in range(2):
                self.load_activations(at, let(tir.minimum(groups - 1, tir.i32(parity))), parity)
                self.load_weights(let(tir.minimum(groups - 1, tir.i32(parity))), parity)
                self.multiply(parity)
            self.keep(0, 0)
            with loop(0, (groups + 1) // 2) as pair:
                self.group(at, pair * 2, groups, 0)
                with tir.when(pair * 2 + 1 < groups):
                    self.group(at, pair * 2 + 1, groups, 1)

        self.add_up(self.acc, slot, column)

    def group(self, at: Expr, group: Expr, groups: Expr, parity: int) -> None:
        """Adds a group. Between its floats the product of the next group is stored and that of the one after it made; past the
        end that is one that nobody takes."""
        scale = let(load(self.scales, group * ROWS, ROWS))
        unit = group if self.halves == 1 else let(group // 2)
        place = let(tir.masked(group, _PRODUCTS - 1) * (TOKENS * ROWS))
        ahead = let(tir.minimum(group + 2, groups - 1))

        def add(quarter: int) -> None:
            for t in range(quarter * 4, quarter * 4 + 4):
                self.add_product(at, unit, t, tir.i32(0), load(self.products, place + t * ROWS, ROWS), scale)

        add(0)
        self.load_activations(at, ahead, parity)
        add(1)
        self.load_weights(ahead, parity)
        add(2)
        self.keep(group + 1, 1 - parity)
        self.multiply(parity)
        add(3)

    def load_activations(self, at: Expr, group: Expr, parity: int) -> None:
        unit, column = (group, 0) if self.halves == 1 else (group // 2, group % 2 * (UNIT // 2))
        tir.load_tile(_ACTIVATIONS + parity, self.p.qa, (at + i64(unit * TOKENS)) * i64(UNIT) + i64(column), UNIT)

    def load_weights(self, group: Expr, parity: int) -> None:
        tir.load_tile(_WEIGHTS + parity, self.codes, group * (DOTS * DOT_BYTES // self.halves), DOT_BYTES)

    def multiply(self, parity: int) -> None:
        tir.clear_tile(_TOTAL + parity)
        tir.dot_tiles(_TOTAL + parity, _ACTIVATIONS + parity, _WEIGHTS + parity, signed=self.operand.signed)

    def keep(self, group: Expr, parity: int) -> None:
        """Stores the product, which is that of `group`."""
        place = tir.masked(group, _PRODUCTS - 1) if not isinstance(group, int) else group % _PRODUCTS
        tir.store_tile(_TOTAL + parity, self.products, place * (TOKENS * ROWS), DOT_BYTES)


def floats(vectors: int) -> View:
    return tir.view(tir.aligned(vectors), "float32")
