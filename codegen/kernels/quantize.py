"""Writes the int8 form of a row of activations into token tiles (codegen/kernels/activations.py), for the kernels that end in it.

What lies together of a row, 32 or 64 columns, lies `width` tokens apart, where width is that of the token tile the row belongs
to. Rows past the last token, which fill up the last tile, are zeros, so that the linear kernels need no tails.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activations import COLUMNS, SPAN, SUPER_BLOCK, TOKENS
from llmc.codegen.tir import Expr, View, i64, let, load, loop, splat, store
from llmc.target import Isa

HALF = COLUMNS // 2  # columns that share a sum
LARGEST = 3.4028234663852886e38  # f32; 127 / amax is more than that for an amax below 3.8e-37


class QuantisedRow:
    """Row `token` of the q8 output of a kernel whose parameters `p` have qa, da, sa, n (columns) and n_tokens."""

    def __init__(self, isa: Isa, p: SimpleNamespace, token: Expr, form: str) -> None:
        self.isa, self.p, self.form = isa, p, form
        self.blocks = let(tir.shifted(p.n, -5))
        full = let(tir.masked(p.n_tokens, -TOKENS))  # tokens in tiles of 16
        rest = let(p.n_tokens - full)
        self.width = let(tir.either_way(token < full, tir.i32(TOKENS), _power_of_two(rest)))
        start = let(tir.minimum(tir.masked(token, -TOKENS), full))
        self.row = let(token - start)  # inside its tile
        self.tile = let(i64(start) * i64(self.blocks))  # where the tile starts in da

    def write(self, values: Callable[[Expr], list[Expr]]) -> None:
        """The whole row; values(column) gives 32 columns from there as vectors in order, and is called once for each."""
        if self.form == "q8":
            with loop(0, self.blocks) as block:
                self._block(block, values(block * COLUMNS))
            return
        kept = tir.local(SUPER_BLOCK, "float32")
        with loop(0, tir.shifted(self.blocks, -3)) as block:
            self._super_block(block, values, kept)

    def _block(self, block: Expr, values: Sequence[Expr]) -> None:
        amax, inverse = _scale(values)
        self._scale(block, amax)
        self._sums(block, self._codes(block, values, inverse))

    def _super_block(self, block: Expr, values: Callable[[Expr], list[Expr]], kept: View) -> None:
        """256 columns, which stay in `kept` until their largest is known."""
        lanes, units = self.isa.lanes, SUPER_BLOCK // COLUMNS
        with loop(0, units) as unit:
            for i, value in enumerate(values(block * SUPER_BLOCK + unit * COLUMNS)):
                store(kept, unit * COLUMNS + i * lanes, value)
        amax, inverse = _scale([load(kept, i, lanes) for i in range(0, SUPER_BLOCK, lanes)])
        everything = tir.local(1, "int32")
        store(everything, 0, tir.i32(0))
        with loop(0, units // 2) as two:
            of_32 = []
            for unit in (let(two * 2 + side) for side in range(2)):
                column = let(block * units + unit)
                self._scale(column, amax)
                halves = self._codes(column, [load(kept, unit * COLUMNS + i, lanes) for i in range(0, COLUMNS, lanes)], inverse)
                self._word(block, unit, tir.pair(*halves))
                of_32.append(let(halves[0] + halves[1]))
            self._word(block, units + two, tir.pair(*of_32))
            store(everything, 0, load(everything, 0) + of_32[0] + of_32[1])
        for word, value in enumerate([load(everything, 0), *[tir.i32(0)] * 3]):
            self._word(block, units + units // 2 + word, value)

    def _codes(self, block: Expr, values: Sequence[Expr], inverse: Expr) -> list[Expr]:
        """Writes 32 columns; their sums, 16 by 16."""
        lanes = self.isa.lanes
        codes = [let(tir.convert(tir.rint(v * splat(inverse, lanes)), "int32")) for v in values]
        at = self._place(block)
        for i, code in enumerate(codes):
            store(self.p.qa, at + i64(i * lanes), tir.convert(code, "int8"))
        vectors = HALF // lanes
        halves = (codes[i : i + vectors] for i in range(0, len(codes), vectors))
        return [let(tir.reduce_add(sum(half[1:], half[0]))) for half in halves]

    def _place(self, block: Expr) -> Expr:
        """Where 32 columns of the row start in qa."""
        if self.form == "q8":
            return let((self.tile + i64(block * self.width + self.row)) * COLUMNS)
        span, side = block // (SPAN // COLUMNS), block % (SPAN // COLUMNS)
        return let(self.tile * COLUMNS + i64((span * self.width + self.row) * SPAN + side * COLUMNS))

    def _scale(self, block: Expr, amax: Expr) -> None:
        store(self.p.da, self.tile + i64(block * self.width + self.row), amax / tir.f32(127.0))

    def _word(self, block: Expr, word: Expr, value: Expr) -> None:
        """One of the sixteen words of sums of a super-block."""
        store(self.p.sa, self.tile * 2 + i64((block * 16 + word) * self.width + self.row), value)

    def zeros(self) -> None:
        """The whole row, for a token there is none of."""
        with loop(0, self.blocks) as block:
            self._scale(block, tir.f32(0.0))
            store(self.p.qa, self._place(block), tir.const(0, "int8", COLUMNS))
            self._sums(block, [tir.i32(0), tir.i32(0)])

    def _sums(self, block: Expr, sums: Sequence[Expr]) -> None:
        for half, total in enumerate(sums):
            store(self.p.sa, self.tile * 2 + i64((block * 2 + half) * self.width + self.row), total)


def _scale(values: Sequence[Expr]) -> tuple[Expr, Expr]:
    """(largest magnitude, what values are multiplied by to become codes)."""
    amax = let(tir.largest_magnitude(values))
    inverse = tir.minimum(let(tir.f32(127.0) / amax), tir.f32(LARGEST))
    return amax, let(tir.select(amax > tir.f32(0.0), inverse, tir.f32(0.0)))


def _power_of_two(rest: Expr) -> Expr:
    """Smallest power of two that is at least `rest`, 1 <= rest <= 16."""
    below = let(rest - 1)
    below = let(tir.either(below, tir.shifted(below, -1)))
    return tir.either(below, tir.shifted(below, -2)) + 1
