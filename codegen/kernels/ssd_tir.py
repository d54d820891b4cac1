"""The kernel of Mamba-2's heads: vectors of channels, features in groups whose states fit the registers."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.ssd import Ssd
from llmc.codegen.kernels.state_tir import BLOCK, CHUNK, blocked, chunks, columns, groups, scalar, wide
from llmc.codegen.tir import Expr, i64, let, load, loop, splat, store
from llmc.target import Isa


def generate(spec: Ssd, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Head(spec, isa, p).run())


class _Head:
    """A head of all tokens: chunk by chunk, vector of channels by vector, group of features by group."""

    def __init__(self, spec: Ssd, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.together = 16 if isa.lanes == 16 else 8  # features whose states are in registers
        self.step, self.decay = tir.local(CHUNK, "float32"), tir.local(CHUNK, "float32")
        self.kept = tir.local(self.together * isa.lanes, "float32")
        self.first = let(i64(p.head) * spec.head_dim)
        self.state = let(i64(p.head) * (blocked(spec.head_dim) * spec.features))

    def run(self) -> None:
        bias, a, d = (let(load(v, self.p.head)) for v in (self.p.bias, self.p.a, self.p.d))
        with chunks(self.p) as (token, count):
            with loop(0, count) as i:
                self.steps(i, token + i, bias, a)

            def channels(column: Expr, state: Expr, width: int) -> None:
                self.channels(token, count, column, let(self.state + i64(state)), width, d)

            columns(self.spec.head_dim, self.isa.lanes, self.spec.features, channels)

    def steps(self, i: Expr, token: Expr, bias: Expr, a: Expr) -> None:
        """The step size and the decay of a token."""
        dt = wide(let(load(self.p.dt, i64(token) * i64(self.p.lddt) + i64(self.p.head)) + bias))
        dt = let(tir.minimum(tir.maximum(tir.softplus(self.isa, dt), wide(self.p.dt_min)), wide(self.p.dt_max)))
        store(self.step, i, scalar(dt))
        store(self.decay, i, scalar(tir.exp(self.isa, dt * wide(a))))

    def channels(self, token: Expr, count: Expr, column: Expr, state: Expr, width: int, d: Expr) -> None:
        """All features of a vector of channels. `state`: where its first feature lies."""
        with loop(0, count) as i:
            x, y = self.places(token + i, column)
            store(self.p.y, y, load(self.p.x, x, width) * splat(d, width))
        groups(self.spec.features, self.together, lambda n, number: self.group(token, count, column, state, n, number, width))

    def group(self, token: Expr, count: Expr, column: Expr, state: Expr, first: Expr, number: int, width: int) -> None:
        """`number` features of a vector of channels, in registers while the tokens pass."""
        start = let(state + i64(first) * BLOCK)
        for n in range(number):
            store(self.kept, n * width, load(self.p.state, start + n * BLOCK, width))
        with loop(0, count) as i:
            self.token(token + i, i, column, first, number, width)
        for n in range(number):
            store(self.p.state, start + n * BLOCK, load(self.kept, n * width, width))

    def token(self, token: Expr, i: Expr, column: Expr, first: Expr, number: int, width: int) -> None:
        row = i64(token) * i64(self.p.ldx) + i64(first)
        at_b, at_c = (let(row + i64(at)) for at in (self.p.b_at, self.p.c_at))
        at_x, at_y = self.places(token, column)
        x = let(load(self.p.x, at_x, width) * splat(load(self.step, i), width))
        decay, y = splat(let(load(self.decay, i)), width), let(load(self.p.y, at_y, width))
        for n in range(number):
            b, c = (splat(load(self.p.x, at + n), width) for at in (at_b, at_c))
            kept = let(tir.fma(self.isa, load(self.kept, n * width, width), decay, let(x * b)))
            store(self.kept, n * width, kept)
            y = let(tir.fma(self.isa, kept, c, y))
        store(self.p.y, at_y, y)

    def places(self, token: Expr, column: Expr) -> tuple[Expr, Expr]:
        """Of a vector of channels in x and in y."""
        own = self.first + i64(column)
        return let(i64(token) * i64(self.p.ldx) + own), let(i64(token) * i64(self.p.ldy) + own)
