"""The kernel of Mamba's channels: vectors of them, features in groups whose states fit the registers."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.selective_scan import SelectiveScan
from llmc.codegen.kernels.state_tir import BLOCK, CHUNK, chunks, groups
from llmc.codegen.tir import Expr, i64, let, load, loop, splat, store
from llmc.target import Isa


def generate(spec: SelectiveScan, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Channels(spec, isa, p).run())


class _Channels:
    """Channels of all tokens: chunk by chunk, vector by vector, group of features by group."""

    def __init__(self, spec: SelectiveScan, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.together = 16 if isa.lanes == 16 else 8  # features whose states are in registers
        self.step = tir.local(CHUNK * isa.lanes, "float32")
        self.kept = tir.local(self.together * isa.lanes, "float32")

    def run(self) -> None:
        with chunks(self.p) as (token, count), loop(self.p.block_lo, self.p.block_hi) as block:
            for at in range(0, BLOCK, self.isa.lanes):
                column = let(i64(block) * BLOCK + at)
                self.vector(token, count, column, let(i64(block) * (BLOCK * self.spec.features) + at))

    def vector(self, token: Expr, count: Expr, column: Expr, state: Expr) -> None:
        """A vector of channels. `state`: where its first feature lies."""
        lanes = self.isa.lanes
        d = let(load(self.p.d, column, lanes))
        with loop(0, count) as i:
            at = let(i64(token + i) * i64(self.p.ld) + column)
            store(self.step, i * lanes, tir.softplus(self.isa, load(self.p.dt, at, lanes)))
            store(self.p.y, at, load(self.p.x, at, lanes) * d)
        groups(self.spec.features, self.together, lambda first, number: self.group(token, count, column, state, first, number))

    def group(self, token: Expr, count: Expr, column: Expr, state: Expr, first: Expr, number: int) -> None:
        """`number` features, in registers while the tokens pass."""
        lanes, start = self.isa.lanes, let(state + i64(first) * BLOCK)
        for n in range(number):
            store(self.kept, n * lanes, load(self.p.state, start + n * BLOCK, lanes))
        with loop(0, count) as i:
            self.token(token + i, i, column, first, number)
        for n in range(number):
            store(self.p.state, start + n * BLOCK, load(self.kept, n * lanes, lanes))

    def token(self, token: Expr, i: Expr, column: Expr, first: Expr, number: int) -> None:
        lanes, row = self.isa.lanes, let(i64(token) * i64(self.p.ldb) + i64(first))
        at = let(i64(token) * i64(self.p.ld) + column)
        step, y = let(load(self.step, i * lanes, lanes)), let(load(self.p.y, at, lanes))
        x = let(load(self.p.x, at, lanes) * step)
        for n in range(number):
            a = load(self.p.a, i64(first + n) * i64(self.p.ld) + column, lanes)
            decay = let(tir.exp(self.isa, step * a))
            b, c = (splat(load(v, row + n), lanes) for v in (self.p.b, self.p.c))
            kept = let(tir.fma(self.isa, load(self.kept, n * lanes, lanes), decay, let(x * b)))
            store(self.kept, n * lanes, kept)
            y = let(tir.fma(self.isa, kept, c, y))
        store(self.p.y, at, y)
