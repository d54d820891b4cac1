"""The linear kernel for int8 activations and weights in super-blocks: up to eight tokens, every such format, every level.

Scales and mins of the groups of a super-block are whole numbers, and activations share a scale per 256 columns (`q8_256`), so
that sums over a super-block are whole numbers too, exact in any order. What touches an output, per super-block:

    total = sum over groups of scale * (codes . activations)
    least = sum over groups of min * sum(activations)
    acc   = fma(fma(f32(total), d, f32(least) * dmin), da, acc)          without mins fma(f32(total) * d, da, acc)

That is the order of linear_q8_super_wide.py and linear_q8_super_tiles.py as well, to the bit. The scale is multiplied into a
group's total; where 16-bit pairs of products are widened (no VNNI) the widening multiplies by it.
"""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activations import SPAN
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.linear_q8 import Q8, Block
from llmc.codegen.kernels.unpack import Operand, Rows, dot_operands
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, i64, let, load, loop, maybe_loop, splat, store
from llmc.ir.quant import BlockFormat
from llmc.ir.tiles import DOTS
from llmc.target import Isa

UNITS = 8  # of a super-block
_TOGETHER = 4  # chains of dot products that are interleaved


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    def body(p: SimpleNamespace) -> None:
        with constants(spec.format, isa):
            _Super(spec, isa, p).emit()

    return tir.prim_func(spec, isa, body)


class Pairs:
    """Which words of q8_256 hold the sums of a format's groups, two to a word, and the codes they are multiplied with."""

    def __init__(self, fmt: BlockFormat, of: Operand) -> None:
        self.format = fmt
        self.offset = of.offset  # what the operands are too large by: times scales and sums it is too much
        self.first = 0 if fmt.groups == 16 else 8
        self.count = fmt.groups // 2

    @property
    def wanted(self) -> bool:
        return self.format.min is not None or (bool(self.offset) and self.format.scale is not None)

    def code(self, rows: Rows, i: Expr) -> Expr:
        """What word `first + i` is multiplied with, of the mins or, where there are none, of the scales: two in each i32 lane."""
        whole = rows.whole_minimum if self.format.min else rows.whole_scale
        return let(tir.pair(whole(i * 2), whole(i * 2 + 1)))

    def less(self, total: Expr, sum: Expr) -> Expr:
        """A total without what the offset added; sum: of scales and sums, or the sum of all columns."""
        return total - tir.shifted(sum, self.offset.bit_length() - 1)


ALL = 12  # the word with the sum of all columns


def scaled_sum(isa: Isa, total: Expr, d: Expr, term: Expr | None) -> Expr:
    """d * total + term, i32 lanes -> f32 lanes; term is dmin * least."""
    value = tir.convert(total, "float32")
    return let(value * d if term is None else tir.fma(isa, value, d, term))


class _Super(Q8):
    """One kernel being written; `total` and `least` i32 [row vector][token]; `starts` i32 [group][token] where a dot product has
    somewhere to start from, what the operands are too large by."""

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        super().__init__(spec, isa, p)
        self.stride = SPAN // 4
        self.minsum = None
        self.in_pairs = Pairs(self.format, self.operand)
        self.total = tir.local(self.vectors * self.tokens * self.lanes, "int32")
        self.least = tir.local(self.vectors * self.tokens * self.lanes, "int32")
        self.started = isa.dot == "vnni" and bool(self.operand.offset) and self.format.scale is not None
        self.starts = tir.aligned(self.format.groups)  # a store that crosses cache lines is not forwarded to loads

    def columns(self) -> None:
        together = self.units_together()
        each = self.in_pairs.count * together // UNITS if self.paired else 0  # of pairs to a part; less than one: all at the end
        with loop(0, self.blocks) as block:
            rows = self.block(block)
            self.begin(block)
            with maybe_loop(UNITS // together) as part:
                self.prefetch(rows[0].rows, part * together, together)
                for unit in [let(part * together + i) for i in range(together)]:
                    self.unit(rows, unit, block * UNITS + unit, unit)
                self.add_pairs(rows, block, [part * each + i for i in range(each)])
            self.add_pairs(rows, block, [] if each or not self.paired else [*range(self.in_pairs.count)])
            for v, of_rows in enumerate(rows):
                self.add_block(v, of_rows, block)

    @property
    def paired(self) -> bool:
        """Whether `least` is added up from pairs."""
        return self.in_pairs.wanted and not self.started

    def begin(self, block: Expr) -> None:
        """Clears the sums and fills `starts`."""
        for i in range(self.vectors * self.tokens):
            store(self.total, i * self.lanes, tir.i32(0, self.lanes))
            store(self.least, i * self.lanes, tir.i32(0, self.lanes))
        if not self.started:
            return
        first = let(self.at(let(block * (2 * UNITS) + self.in_pairs.first), 2))
        if self.width == 1:
            self.keep_starts(0, tir.convert(tir.bits(load(self.p.sa, first, self.in_pairs.count), "int16"), "int32"))
            return
        for i in range(self.in_pairs.count):
            two = let(load(self.p.sa, first + i64(i * self.width), self.tokens))
            self.keep_starts(2 * i * self.tokens, tir.shifted(tir.shifted(two, 16), -16))
            self.keep_starts((2 * i + 1) * self.tokens, tir.shifted(two, -16))

    def keep_starts(self, at: int, sums: Expr) -> None:
        zero = tir.i32(0, tir.shape(sums)[1])
        store(self.starts, at, zero - tir.shifted(sums, self.operand.offset.bit_length() - 1))

    def unit(self, vectors: list[Block], unit: Expr, column: Expr, slot: Expr) -> None:
        words = let((self.activations + i64(column // 2 * (2 * self.width)) + i64(self.first_token * 2)) * i64(DOTS))
        words = let(words + i64(column % 2 * DOTS))
        per = DOTS // self.halves
        self.prefetch(vectors[0].rows, unit)
        for v, block in enumerate(vectors):
            codes = dot_operands(self.format, self.isa, block.rows.dots(unit))
            groups = [unit * self.halves + h for h in range(self.halves)]
            scales = [None if self.format.scale is None else block.rows.whole_scale(group) for group in groups]
            for first in range(0, self.tokens, _TOGETHER):
                tokens = range(first, min(first + _TOGETHER, self.tokens))
                for h, (scale, group) in enumerate(zip(scales, groups, strict=True)):
                    self.add_group(v, codes[h * per : (h + 1) * per], scale, words + i64(h * per), group, tokens)

    def add_group(self, v: int, codes: list[Expr], scale: Expr | None, words: Expr, group: Expr, tokens: range) -> None:
        """total += scale * (codes . activations) for some tokens."""
        before = [(v * self.tokens + t) * self.lanes for t in tokens]
        if scale is None or self.isa.dot == "vnni":
            starts = [self.start_of(group * self.tokens + t) for t in tokens]
            for at, total in zip(before, self.totals(codes, words, starts, tokens), strict=True):
                store(self.total, at, load(self.total, at, self.lanes) + (total if scale is None else total * scale))
            return
        times = tir.twice(scale)
        for at, t in zip(before, tokens, strict=True):
            values = [self.activation(words + i64(t * self.stride + n)) for n in range(len(codes))]
            store(self.total, at, self.dot(load(self.total, at, self.lanes), codes, values, times))

    def start_of(self, at: Expr) -> Expr:
        return let(splat(load(self.starts, at), self.lanes)) if self.started else tir.i32(0, self.lanes)

    def add_pairs(self, vectors: list[Block], block: Expr, pairs: list[Expr]) -> None:
        """least += codes times sums of activations, of some pairs of groups."""
        for v, of_rows in enumerate(vectors):
            for i in pairs:
                code = tir.bits(self.in_pairs.code(of_rows.rows, i), "int16")
                for t in range(self.tokens):
                    at = (v * self.tokens + t) * self.lanes
                    sums = tir.bits(self.sums_at(block, self.in_pairs.first + i, t), "int16")
                    store(self.least, at, tir.dot_pairs(self.isa, load(self.least, at, self.lanes), code, sums))

    def sums_at(self, block: Expr, word: Expr, t: int) -> Expr:
        """A word of sums of a super-block."""
        return splat(load(self.p.sa, self.at(let(block * (2 * UNITS) + word), 2) + i64(t)), self.lanes)

    def add_block(self, v: int, block: Block, column: Expr) -> None:
        """Adds the super-block's totals to the outputs."""
        first = let(self.at(let(column * UNITS)))
        for t in range(self.tokens):
            at = (v * self.tokens + t) * self.lanes
            total, least = load(self.total, at, self.lanes), load(self.least, at, self.lanes)
            if self.in_pairs.offset and not self.started:
                total = self.in_pairs.less(total, least if self.paired else self.sums_at(column, ALL, t))
            term = None if block.dmin is None else let(tir.convert(least, "float32") * block.dmin)
            value = scaled_sum(self.isa, total, block.d, term)
            self.add(self.acc, v, t, value, splat(load(self.p.da, first + i64(t)), self.lanes))
