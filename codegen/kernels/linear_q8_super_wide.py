"""The linear kernel for int8 activations, weights in super-blocks and sixteen tokens, with the level's vector instructions.

Four super-blocks of a row tile are unpacked once for eight token tiles (linear_q8_wide.py): codes as operands of a byte product,
scale codes and mins as whole numbers. What touches an output, in which order, is in linear_q8_super.py.
"""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activations import SPAN
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.linear_q8_super import ALL, UNITS, Pairs, scaled_sum
from llmc.codegen.kernels.linear_q8_wide import TOGETHER, TOKENS, Wide, floats
from llmc.codegen.kernels.linear_q8_wide import UNITS as UNITS_TOGETHER
from llmc.codegen.kernels.unpack import Rows
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, i64, let, load, loop, splat, store
from llmc.ir.tiles import DOT_BYTES, DOTS, ROWS
from llmc.target import Isa

BLOCKS = UNITS_TOGETHER // UNITS  # unpacked together


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    def body(p: SimpleNamespace) -> None:
        with constants(spec.format, isa):
            _Vectors(spec, isa, p).emit()

    return tir.prim_func(spec, isa, body)


class SuperWide(Wide):
    """What is kept of super-blocks, and how their totals are added to the outputs.

    On the stack: d and dmin f32 [block][16 rows]; factors i32 [two groups][16 rows], what sums of activations are multiplied by.
    """

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        super().__init__(spec, isa, p)
        self.pairs = Pairs(self.format, self.operand)
        self.d = floats(BLOCKS)
        if self.format.min:
            self.dmin = floats(BLOCKS)
        if self.pairs.wanted:
            self.factors = tir.aligned(BLOCKS * self.pairs.count)

    def unpack_factors(self, rows: Rows, d: Expr, dmin: Expr | None, block: Expr) -> None:
        store(self.d, block * ROWS + rows.first, d)
        if dmin is not None:
            store(self.dmin, block * ROWS + rows.first, dmin)
        for i in range(self.pairs.count if self.pairs.wanted else 0):
            store(self.factors, (block * self.pairs.count + i) * ROWS + rows.first, self.pairs.code(rows, tir.i32(i)))

    def dots_of_pairs(self, at: Expr, block: Expr, row: Expr, tokens: list[Expr]) -> list[Expr]:
        """By token, the sum over a super-block of factors times sums of activations, or the sum of all of these."""
        first = let(at * i64(2) + i64(block * (2 * UNITS * TOKENS)))

        def sums(word: int, t: Expr) -> Expr:
            return splat(load(self.p.sa, first + i64(word * TOKENS + t)), self.lanes)

        if not self.pairs.wanted:
            return [sums(ALL, t) for t in tokens] if self.pairs.offset else []
        totals = [tir.i32(0, self.lanes)] * len(tokens)
        for i in range(self.pairs.count):
            factor = let(tir.bits(load(self.factors, (block * self.pairs.count + i) * ROWS + row, self.lanes), "int16"))
            for n, t in enumerate(tokens):
                totals[n] = tir.dot_pairs(self.isa, totals[n], factor, tir.bits(sums(self.pairs.first + i, t), "int16"))
        return totals

    def kept_at(self, block: Expr) -> Expr:
        """Bits of `acc` to keep: none of what the stack held before the first super-block."""
        return let(tir.select(self.unit + block * UNITS == 0, tir.i32(0), tir.i32(-1)))

    def add_value(self, place: Expr, kept: Expr, value: Expr, da: Expr) -> None:
        before = tir.bits(load(self.acc, place, self.lanes), "int32") & splat(kept, self.lanes)
        store(self.acc, place, tir.fma(self.isa, value, splat(da, self.lanes), tir.bits(before, "float32")))


class _Vectors(SuperWide):
    """On the stack besides: codes u8 [unit][8][64], scales i32 [group][16 rows], twice in 16 bits where they are used that way.
    The totals of a super-block stand in registers."""

    def __init__(self, spec: Linear, isa: Isa, p: SimpleNamespace) -> None:
        super().__init__(spec, isa, p)
        self.codes = tir.view(tir.aligned(UNITS_TOGETHER * DOTS), "uint8")
        self.scales = tir.aligned(UNITS_TOGETHER * self.halves) if self.format.scale else None
        self.registers = tir.local(self.tokens * self.lanes, "int32")
        self.words = tir.view(self.p.qa, "int32")

    def unpack_unit(self, rows: Rows, d: Expr, dmin: Expr | None, unit: Expr, slot: Expr) -> None:
        self.keep_codes(rows, unit, slot, self.codes)
        for h in range(self.halves if self.scales is not None else 0):
            scale = rows.whole_scale(let(unit * self.halves + h))
            kept = scale if self.isa.dot == "vnni" else tir.pair(scale, scale)
            store(self.scales, (slot * self.halves + h) * ROWS + rows.first, kept)

    def add_products(self, slot: Expr) -> None:
        at = self.activations(slot)
        with tir.maybe_loop(TOKENS // self.tokens) as part, tir.maybe_loop(ROWS // self.lanes) as vector:
            token, row = part * self.tokens, vector * self.lanes
            with loop(0, tir.shifted(self.units, -3)) as block:
                for t in range(self.tokens):
                    store(self.registers, t * self.lanes, tir.i32(0, self.lanes))
                with loop(0, UNITS * self.halves) as group:
                    self.add_group(at, let(block * (UNITS * self.halves) + group), token, row)
                self.add_block(at, slot, block, token, row)

    def add_group(self, at: Expr, group: Expr, token: Expr, row: Expr) -> None:
        """Adds a group's products, times its scale, to the totals."""
        per = DOTS // self.halves
        unit, half = (group, 0) if self.halves == 1 else (let(group // 2), let(group % 2))
        codes = [let(load(self.codes, (group * per + j) * DOT_BYTES + row * 4, 4 * self.lanes)) for j in range(per)]
        if self.operand.signed:
            codes = [tir.bits(c, "int8") for c in codes]
        scale = None if self.scales is None else let(load(self.scales, group * ROWS + row, self.lanes))
        base = let((at + i64(unit // 2 * (2 * TOKENS) + token * 2)) * i64(DOTS) + i64(unit % 2 * DOTS + half * per))
        for first in range(0, self.tokens, TOGETHER):
            self.add_tokens(range(first, first + TOGETHER), codes, scale, base)

    def add_tokens(self, tokens: range, codes: list[Expr], scale: Expr | None, base: Expr) -> None:
        vnni = self.isa.dot == "vnni"
        times = None if vnni or scale is None else tir.bits(scale, "int16")
        apart = vnni and scale is not None  # the scale is multiplied with what is summed
        dots = [tir.i32(0, self.lanes) if apart else load(self.registers, t * self.lanes, self.lanes) for t in tokens]
        step = 1 if vnni else len(codes)
        for j in range(0, len(codes), step):
            for i, t in enumerate(tokens):
                words = [load(self.words, base + i64(t * (SPAN // 4) + n)) for n in range(j, j + step)]
                values = [tir.bits(splat(word, self.lanes), "int8") for word in words]
                dots[i] = self.dot(dots[i], codes[j : j + step], values, times)
        for t, dot in zip(tokens, dots, strict=True):
            at = t * self.lanes
            store(self.registers, at, load(self.registers, at, self.lanes) + dot * scale if apart else dot)

    def dot(self, total: Expr, weights: list[Expr], values: list[Expr], times: Expr | None) -> Expr:
        if self.operand.signed:
            return tir.dot_s8s8(self.isa, total, weights, values, times)
        return tir.dot_u8s8(self.isa, total, weights, values, self.operand.largest, times)

    def add_block(self, at: Expr, slot: Expr, block: Expr, token: Expr, row: Expr) -> None:
        """Adds the totals of a super-block to the outputs."""
        kept = self.kept_at(block)
        d = let(load(self.d, block * ROWS + row, self.lanes))
        dmin = let(load(self.dmin, block * ROWS + row, self.lanes)) if self.format.min else None
        for first in range(0, self.tokens, TOGETHER):
            tokens = range(first, first + TOGETHER)
            least = self.dots_of_pairs(at, block, row, [token + t for t in tokens])
            for n, t in enumerate(tokens):
                total = load(self.registers, t * self.lanes, self.lanes)
                if self.pairs.offset:
                    total = self.pairs.less(total, least[n])
                term = None if dmin is None else let(tir.convert(least[n], "float32") * dmin)
                da = load(self.p.da, at + i64(block * (UNITS * TOKENS) + token + t))
                self.add_value((slot * TOKENS + token + t) * ROWS + row, kept, scaled_sum(self.isa, total, d, term), da)
