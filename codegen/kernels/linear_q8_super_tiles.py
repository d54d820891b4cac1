"""The linear kernel for int8 activations, weights in super-blocks and sixteen tokens, with matrix tiles (AMX).

While a super-block is unpacked, once for eight token tiles, the scales are multiplied into the codes. The products are bytes, or
two planes of bytes whose totals are put together at the end:

    one plane    scale * code fits a byte (Q2_K, and Q3_K with the sign turned)
    by scale     code * (scale >> s) and code * (scale & (2^s - 1)), which fit unsigned bytes (Q4_K, Q5_K) total = high << s + low
    by product   the high and the low byte of a product of 16 bits (Q6_K, IQ4_XS and what is looked up)    total = high << 8 + low

Four tile instructions of 64 columns to a plane then make a super-block's totals for 16 tokens and 16 rows, and two token tiles
share what is loaded of the weights. Floats come once per super-block, in the order of linear_q8_super.py. A tile instruction
takes one of two ports from the float instructions of the next 250 cycles or so (Sapphire Rapids): `least` has a pass of its own,
and what else must be done for a super-block is done between the tile instructions of the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activations import SPAN
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.kernels.linear_q8_super import UNITS, scaled_sum
from llmc.codegen.kernels.linear_q8_super_wide import BLOCKS, SuperWide
from llmc.codegen.kernels.linear_q8_wide import TOKEN_TILES, TOKENS, floats
from llmc.codegen.kernels.unpack import Rows, dot_operands
from llmc.codegen.kernels.unpack_grid import constants
from llmc.codegen.tir import Expr, i64, let, load, loop, store
from llmc.ir.quant import BlockFormat, IntCodes
from llmc.ir.tiles import DOT_BYTES, DOTS, ROWS, UNIT
from llmc.target import Isa

_STEPS = 256 // SPAN  # to a super-block
_STEP_VECTORS = SPAN // 4  # dot vectors to a step
_TOTALS, _ACTIVATIONS, _WEIGHTS = 0, 4, 6  # matrix tiles: [token tile][plane], [token tile], [plane]


def generate(spec: Linear, isa: Isa) -> tir.PrimFunc:
    def body(p: SimpleNamespace) -> None:
        with constants(spec.format, isa):
            _Tiles(spec, isa, p).emit()

    return tir.prim_func(spec, isa, body)


@dataclass(frozen=True)
class Planes:
    """How scale * code is kept in bytes: total = sign * (totals[0] + totals[1] << shift)."""

    signed: tuple[bool, ...]  # of each plane's bytes, low plane first
    shift: int = 0
    by_scale: bool = False
    sign: int = 1


def planes(fmt: BlockFormat) -> Planes:
    """The fewest bytes that hold every product of a scale and a code of a super-block format."""
    scales = _span(fmt)
    corners = [a * b for a in scales for b in fmt.span]
    low, high = min(corners), max(corners)
    if low >= 0 and high <= 255:
        return Planes((False,))
    if low >= -128 and high <= 127:
        return Planes((True,))
    if low >= -127 and high <= 128:
        return Planes((True,), sign=-1)
    shift = (scales[1].bit_length() + 1) // 2
    if low >= 0 and fmt.span[1] * ((1 << shift) - 1) <= 255:
        return Planes((False, False), shift, by_scale=True)
    assert low >= -(1 << 15) and high < 1 << 15, fmt.name
    return Planes((False, True), 8)


def _span(fmt: BlockFormat) -> tuple[int, int]:
    """The lowest and the highest scale."""
    if fmt.scale is None:
        return 1, 1
    assert isinstance(fmt.scale, IntCodes), fmt.name
    return -fmt.scale.offset, fmt.scale.step * ((1 << fmt.scale.bits) - 1) - fmt.scale.offset


class _Tiles(SuperWide):
    """On the stack besides: codes u8 [block][plane][32 dot vectors of 64]; terms f32 [token tile][block][16 tokens][16 rows], the
    products of `least` and dmin; products i32 [2][4 totals][16 tokens][16 rows], of one super-block while the next is made."""

    def emit(self) -> None:
        assert isinstance(self.format, BlockFormat)
        self.planes = planes(self.format)
        self.count = len(self.planes.signed)
        self.codes = tir.view(tir.aligned(BLOCKS * self.count * UNITS * DOTS), "uint8")
        self.products = tir.aligned(2 * 4 * TOKENS)
        if self.format.min:
            self.terms = floats(TOKEN_TILES * BLOCKS * TOKENS)
        tir.configure_tiles([(TOKENS, DOT_BYTES)] * 8)
        super().emit()
        tir.release_tiles()

    # ---- weights

    def unpack_factors(self, rows: Rows, d: Expr, dmin: Expr | None, block: Expr) -> None:
        super().unpack_factors(rows, d if self.planes.sign > 0 else let(tir.f32(0.0, self.lanes) - d), dmin, block)

    def unpack_unit(self, rows: Rows, d: Expr, dmin: Expr | None, unit: Expr, slot: Expr) -> None:
        per = DOTS // self.halves
        block, first = let(slot // UNITS), let(slot % UNITS * DOTS)
        codes = dot_operands(self.format, self.isa, rows.dots(unit))
        for h in range(self.halves):
            scale = None if self.format.scale is None else rows.whole_scale(let(unit * self.halves + h))
            for plane, factor in enumerate(self.scale_of_planes(scale)):
                for j in range(h * per, (h + 1) * per):
                    at = ((block * self.count + plane) * (UNITS * DOTS) + first + j) * DOT_BYTES
                    store(self.codes, at, self.byte_products(codes[j], factor, plane))

    def scale_of_planes(self, scale: Expr | None) -> list[Expr | None]:
        """What the codes of each plane are multiplied by, as u16 or i16 lanes."""
        if scale is None:
            return [None]
        if self.planes.by_scale:
            low = tir.masked(scale, (1 << self.planes.shift) - 1)
            return [let(tir.bits(tir.twice(part), "uint16")) for part in (low, tir.shifted(scale, -self.planes.shift))]
        signed = scale if self.planes.sign > 0 else tir.i32(0, self.lanes) - scale
        return [let(tir.bits(tir.twice(signed), "uint16"))] * self.count

    def byte_products(self, codes: Expr, scale: Expr | None, plane: int) -> Expr:
        """codes u8 or i8 x 64, scale u16 x 32 -> u8 x 64: a plane of their products."""
        words = tir.bits(codes, "uint16")
        if scale is None:
            return tir.bits(words, "uint8")
        if self.planes.by_scale or (not self.operand.signed and self.count == 1):
            return tir.bits(words * scale, "uint8")  # no byte's product reaches the next byte
        even, odd = self.wide_products(words, scale)
        if plane == 0:
            return tir.bits(tir.either(tir.masked(even, 0x00FF), tir.shifted(odd, 8)), "uint8")
        return tir.bits(tir.either(tir.shifted(even, -8), tir.masked(odd, 0xFF00)), "uint8")

    def wide_products(self, words: Expr, scale: Expr) -> tuple[Expr, Expr]:
        """Products of 16 bits, u16 lanes: of the low bytes and of the high ones."""
        if self.operand.signed:
            words = let(tir.bits(words, "int16"))
            low, high = tir.shifted(let(tir.shifted(words, 8)), -8), tir.shifted(words, -8)
            return let(tir.bits(low, "uint16") * scale), let(tir.bits(high, "uint16") * scale)
        return let(tir.masked(words, 0x00FF) * scale), let(tir.shifted(words, -8) * scale)

    # ---- token tiles

    def add_chunk(self, tile: Expr, count: Expr) -> None:
        if self.format.min:
            with loop(0, count) as slot:
                self.keep_terms(slot)
        with loop(0, count // 2) as pair:
            self.add_tiles(tile, [let(pair * 2), let(pair * 2 + 1)])
        with tir.when(tir.masked(count, 1) == 1):
            self.add_tiles(tile, [let(count - 1)])

    def keep_terms(self, slot: Expr) -> None:
        """Fills `terms` for one token tile."""
        at = self.activations(slot)
        with loop(0, self.units // UNITS) as block:
            dmin = let(load(self.dmin, block * ROWS, ROWS))
            least = self.dots_of_pairs(at, block, tir.i32(0), [tir.i32(t) for t in range(TOKENS)])
            for t, value in enumerate(least):
                store(self.terms, ((slot * BLOCKS + block) * TOKENS + t) * ROWS, tir.convert(value, "float32") * dmin)

    def add_tiles(self, tile: Expr, slots: list[Expr]) -> None:
        """Adds the chunk to one or two token tiles."""
        for slot in slots:
            with tir.when(self.last):
                self.ask_for_results(tile, slot)
        at = [self.activations(slot) for slot in slots]
        blocks = let(self.units // UNITS)
        self.make(at, tir.i32(0), None)
        with loop(1, blocks) as block:
            self.make(at, block, lambda part: self.add_block(at, slots, let(block - 1), part))
        for part in range(_STEPS):
            self.add_block(at, slots, let(blocks - 1), part)

    def make(self, at: list[Expr], block: Expr, between: Callable[[int], None] | None) -> None:
        """The products of a super-block; what `between` does with a quarter of the one before comes after each step."""
        totals = [(n, plane) for n in range(len(at)) for plane in range(self.count)]
        for n, plane in totals:
            tir.clear_tile(_TOTALS + 2 * n + plane)
        for step in range(_STEPS):
            for plane in range(self.count):
                first = ((block * self.count + plane) * _STEPS + step) * (_STEP_VECTORS * DOT_BYTES)
                tir.load_tile(_WEIGHTS + plane, self.codes, first, DOT_BYTES)
            for n, start in enumerate(at):
                self.load_activations(n, start, block, step)
                for plane in range(self.count):
                    signed = self.planes.signed[plane]
                    tir.dot_tiles(_TOTALS + 2 * n + plane, _ACTIVATIONS + n, _WEIGHTS + plane, signed=signed)
            if between is not None:
                between(step)
        for n, plane in totals:
            tir.store_tile(_TOTALS + 2 * n + plane, self.products, self.product(block, n, plane), DOT_BYTES)

    def product(self, block: Expr, n: int, plane: int) -> Expr:
        return (tir.masked(block, 1) * 4 + (2 * n + plane)) * (TOKENS * ROWS)

    def load_activations(self, n: int, start: Expr, block: Expr, step: int) -> None:
        at = start * i64(UNIT) + i64((block * _STEPS + step) * (TOKENS * SPAN))
        tir.load_tile(_ACTIVATIONS + n, self.p.qa, at, SPAN)

    def add_block(self, at: list[Expr], slots: list[Expr], block: Expr, part: int) -> None:
        """Adds a quarter of a super-block's totals to the outputs."""
        kept = self.kept_at(block)
        d = let(load(self.d, block * ROWS, ROWS))
        each = TOKENS // _STEPS
        for n, slot in enumerate(slots):
            for t in range(part * each, (part + 1) * each):
                total = load(self.products, self.product(block, n, 0) + t * ROWS, ROWS)
                if self.count == 2:
                    high = load(self.products, self.product(block, n, 1) + t * ROWS, ROWS)
                    total = total + tir.shifted(high, self.planes.shift)
                term = load(self.terms, ((slot * BLOCKS + block) * TOKENS + t) * ROWS, ROWS) if self.format.min else None
                da = load(self.p.da, at[n] + i64(block * (UNITS * TOKENS) + t))
                self.add_value((slot * TOKENS + t) * ROWS, kept, scaled_sum(self.isa, total, d, term), da)
