"""Writes the int8 form of a row of activations into token tiles (codegen/kernels/activations.py), for the kernels that end in it.

A row's blocks of 32 columns lie `width` tokens apart, where width is that of the token tile the row belongs to. Rows past the
last token, which fill up the last tile, are zeros, so that the linear kernels need no tails.
"""

from collections.abc import Sequence
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activations import COLUMNS, TOKENS
from llmc.codegen.tir import Expr, i64, let, loop, splat, store
from llmc.target import Isa

HALF = COLUMNS // 2  # columns that share a sum
LARGEST = 3.4028234663852886e38  # f32; 127 / amax is more than that for an amax below 3.8e-37


class QuantisedRow:
    """Row `token` of the q8 output of a kernel whose parameters `p` have qa, da, sa, n (columns) and n_tokens."""

    def __init__(self, isa: Isa, p: SimpleNamespace, token: Expr) -> None:
        self.isa, self.p = isa, p
        self.blocks = let(tir.shifted(p.n, -5))
        full = let(tir.masked(p.n_tokens, -TOKENS))  # tokens in tiles of 16
        rest = let(p.n_tokens - full)
        self.width = let(tir.either_way(token < full, tir.i32(TOKENS), _power_of_two(rest)))
        start = let(tir.minimum(tir.masked(token, -TOKENS), full))
        self.row = let(token - start)  # inside its tile
        self.tile = let(i64(start) * i64(self.blocks))  # where the tile starts in da

    def block(self, block: Expr, values: Sequence[Expr]) -> None:
        """Columns [32*block, 32*block + 32), as vectors in order."""
        lanes = tir.shape(values[0])[1]
        amax = let(tir.largest_magnitude(values))
        inverse = tir.minimum(let(tir.f32(127.0) / amax), tir.f32(LARGEST))
        inverse = let(tir.select(amax > tir.f32(0.0), inverse, tir.f32(0.0)))
        codes = [let(tir.convert(tir.rint(v * splat(inverse, lanes)), "int32")) for v in values]
        at = let(self.tile + i64(block * self.width + self.row))
        store(self.p.da, at, amax / tir.f32(127.0))
        for i, code in enumerate(codes):
            store(self.p.qa, at * COLUMNS + i64(i * lanes), tir.convert(code, "int8"))
        vectors = HALF // lanes
        halves = (codes[i : i + vectors] for i in range(0, len(codes), vectors))
        self._sums(block, [tir.reduce_add(sum(half[1:], half[0])) for half in halves])

    def zeros(self) -> None:
        """The whole row, for a token there is none of."""
        with loop(0, self.blocks) as block:
            at = let(self.tile + i64(block * self.width + self.row))
            store(self.p.da, at, tir.f32(0.0))
            store(self.p.qa, at * COLUMNS, tir.const(0, "int8", COLUMNS))
            self._sums(block, [tir.i32(0), tir.i32(0)])

    def _sums(self, block: Expr, sums: Sequence[Expr]) -> None:
        for half, total in enumerate(sums):
            store(self.p.sa, self.tile * 2 + i64((block * 2 + half) * self.width + self.row), total)


def _power_of_two(rest: Expr) -> Expr:
    """Smallest power of two that is at least `rest`, 1 <= rest <= 16."""
    below = let(rest - 1)
    below = let(tir.either(below, tir.shifted(below, -1)))
    return tir.either(below, tir.shifted(below, -2)) + 1
