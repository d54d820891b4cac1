"""The kernel of the gated delta rule: vectors of values, keys one after the other."""

from collections.abc import Callable
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.delta_rule import DeltaRule
from llmc.codegen.kernels.norm_tir import head_squares
from llmc.codegen.kernels.state_tir import BLOCK, blocked, chunks, columns, groups, scalar, wide
from llmc.codegen.tir import Expr, View, f32, i64, let, load, loop, splat, store
from llmc.ir.recurrence import LENGTH_EPS
from llmc.target import Isa

_CHUNK = 16  # tokens whose queries and keys are kept ready
_TOGETHER = 8  # keys of a round
_SUMS = 4  # partial sums over keys, added at the end


def generate(spec: DeltaRule, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Head(spec, isa, p).run())


class _Head:
    """A head of all tokens: chunk by chunk, vector of values by vector, token by token."""

    def __init__(self, spec: DeltaRule, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.q, self.k = tir.local(_CHUNK * spec.key_dim, "float32"), tir.local(_CHUNK * spec.key_dim, "float32")
        self.decay, self.step = tir.local(_CHUNK, "float32"), tir.local(_CHUNK, "float32")
        self.sums = tir.local(_SUMS * isa.lanes, "float32")
        self.state = let(i64(p.head) * (blocked(spec.value_dim) * spec.key_dim))

    def run(self) -> None:
        bias, a = (let(load(v, self.p.head)) for v in (self.p.bias, self.p.a))
        with chunks(self.p, _CHUNK) as (token, count):
            with loop(0, count) as i:
                self.prepare(i, token + i, bias, a)

            def vector(column: Expr, state: Expr, width: int) -> None:
                with loop(0, count) as i:
                    self.token(token + i, i, column, let(self.state + i64(state)), width)

            columns(self.spec.value_dim, self.isa.lanes, self.spec.key_dim, vector)

    def prepare(self, i: Expr, token: Expr, bias: Expr, a: Expr) -> None:
        """The query and the key of a token at their new length, its decay and its step."""
        self.normalise(self.q, i, token, self.p.q_at, float(self.spec.key_dim))
        self.normalise(self.k, i, token, self.p.k_at, 1.0)
        at = let(i64(token) * i64(self.p.ldh) + i64(self.p.head))
        rate = let(tir.softplus(self.isa, wide(let(load(self.p.dt, at) + bias))))
        store(self.decay, i, scalar(tir.exp(self.isa, rate * wide(a))))
        store(self.step, i, scalar(tir.sigmoid(self.isa, wide(let(load(self.p.beta, at))))))

    def normalise(self, target: View, i: Expr, token: Expr, column: Expr, divisor: float) -> None:
        """A vector of keys divided by its length and by the root of `divisor`."""
        d = self.spec.key_dim
        start = let(i64(token) * i64(self.p.ldx) + i64(column))
        squares = let(head_squares(d, self.isa, self.p.x, start) + f32(LENGTH_EPS))
        factor = let(f32(1.0) / tir.sqrt(squares * f32(divisor)))

        def scale(at: Expr, width: int) -> None:
            store(target, i * d + at, load(self.p.x, start + i64(at), width) * splat(factor, width))

        tir.cover(d, self.isa.lanes, scale)

    def token(self, token: Expr, i: Expr, column: Expr, state: Expr, width: int) -> None:
        """A vector of values of one token: what the state recalls, the error, and what it gives afterwards."""
        isa, v_at = self.isa, i64(token) * i64(self.p.ldx) + i64(self.p.v_at) + i64(column)
        decay = splat(let(load(self.decay, i)), width)

        def recall(key: Expr, n: int) -> None:
            k, s = splat(load(self.k, i * self.spec.key_dim + key), width), load(self.p.state, state + i64(key) * BLOCK, width)
            self.add(n, s, k, width)

        recalled = let(self.total(width, recall) * decay)
        error = let((load(self.p.x, v_at, width) - recalled) * splat(load(self.step, i), width))

        def update(key: Expr, n: int) -> None:
            at = let(state + i64(key) * BLOCK)
            k, q = (splat(load(v, i * self.spec.key_dim + key), width) for v in (self.k, self.q))
            s = let(tir.fma(isa, error, k, let(load(self.p.state, at, width) * decay)))
            store(self.p.state, at, s)
            self.add(n, s, q, width)

        y = i64(token) * i64(self.p.ldy) + i64(self.p.head) * self.spec.value_dim + i64(column)
        store(self.p.y, y, self.total(width, update))

    def total(self, width: int, body: Callable[[Expr, int], None]) -> Expr:
        """The sum over all keys of what body(key, number of its partial sum) adds."""
        for n in range(_SUMS):
            store(self.sums, n * width, f32(0.0, width))

        def group(first: Expr, number: int) -> None:
            for n in range(number):
                body(first + n, n % _SUMS)

        groups(self.spec.key_dim, _TOGETHER, group)
        a, b, c, d = (load(self.sums, n * width, width) for n in range(_SUMS))
        return let((a + b) + (c + d))

    def add(self, n: int, a: Expr, b: Expr, width: int) -> None:
        store(self.sums, n * width, tir.fma(self.isa, a, b, load(self.sums, n * width, width)))
