"""The norm kernels. A row is read once for each mean that its norm takes, and once for the result."""

from collections.abc import Callable
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activations import COLUMNS
from llmc.codegen.kernels.norm import HeadNorm, Norm
from llmc.codegen.kernels.quantize import QuantisedRow
from llmc.codegen.tir import Expr, View, i64, let, load, loop, splat, store
from llmc.target import Isa

_STEP = 16  # columns rows are padded to


def norm(spec: Norm, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Norm(spec, isa, p).emit())


class _Norm:
    """One kernel being written: the parameters and, per token, where its rows start."""

    def __init__(self, spec: Norm, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p

    def emit(self) -> None:
        p = self.p
        with loop(p.lo, p.hi) as token:
            with tir.when(token < p.n_tokens):
                self.row(token)
            if self.spec.q8:
                with tir.when(token >= p.n_tokens):
                    QuantisedRow(self.isa, p, token, self.spec.q8).zeros()

    def row(self, token: Expr) -> None:
        p = self.p
        source = let(tir.either_way(tir.is_null(p.rows), token, load(p.rows, token)))
        self.x, self.o = let(i64(source) * i64(p.ldx)), let(i64(source) * i64(p.ldo))
        self.y = let(i64(token) * i64(p.ldy))
        value = {"": lambda: self.summed, "rms": self.rms, "layer": self.layer}[self.spec.norm]()
        if self.spec.q8:
            QuantisedRow(self.isa, p, token, self.spec.q8).write(lambda column: self.results(value, column, COLUMNS))
        else:
            with loop(0, _steps(p.n)) as step:
                self.results(value, step * _STEP, _STEP)

    def results(self, value: Callable[[Expr], Expr], column: Expr, count: int) -> list[Expr]:
        """`count` columns as vectors, stored to y where that is wanted."""
        values = []
        for i in range(0, count, self.isa.lanes):
            values.append(let(value(column + i)))
            if self.spec.f32:
                store(self.p.y, self.y + i64(column + i), values[-1])
        return values

    def summed(self, column: Expr) -> Expr:
        """One vector of x, after the addition."""
        lanes = self.isa.lanes
        x = load(self.p.x, self.x + i64(column), lanes)
        if self.spec.add:
            o = load(self.p.o, self.o + i64(column), lanes)
            x = let(tir.fma(self.isa, splat(self.p.alpha, lanes), o, x))
            store(self.p.x, self.x + i64(column), x)
        return x

    def rms(self) -> Callable[[Expr], Expr]:
        """Adds and takes the sum of squares; what the second reading makes of a vector."""
        lanes = self.isa.lanes

        def square(column: Expr, total: Expr) -> Expr:
            x = let(self.summed(column))
            return tir.fma(self.isa, x, x, total)

        factor = _factor(self.total(square), tir.convert(self.p.n, "float32"), self.p.eps)

        def value(column: Expr) -> Expr:
            x = load(self.p.x, self.x + i64(column), lanes)
            return x * splat(factor, lanes) * load(self.p.w, column, lanes)

        return value

    def layer(self) -> Callable[[Expr], Expr]:
        """Adds and takes the sum, then the sum of squared distances from the mean; what the third reading makes of a vector."""
        lanes, count = self.isa.lanes, let(tir.convert(self.p.n, "float32"))
        mean = let(self.total(lambda column, total: total + self.summed(column)) / count)

        def centred(column: Expr) -> Expr:
            return let(load(self.p.x, self.x + i64(column), lanes) - splat(mean, lanes))

        def square(column: Expr, total: Expr) -> Expr:
            there = tir.counting(column, lanes) < splat(self.p.n, lanes)
            x = let(tir.select(there, centred(column), tir.f32(0.0, lanes)))
            return tir.fma(self.isa, x, x, total)

        factor = _factor(self.total(square), count, self.p.eps)

        def value(column: Expr) -> Expr:
            x = let(centred(column) * splat(factor, lanes))
            return tir.fma(self.isa, x, load(self.p.w, column, lanes), tir.optional(self.p.b, column, lanes))

        return value

    def total(self, add: Callable[[Expr, Expr], Expr]) -> Expr:
        """The sum over a row whose terms `add` adds, vector by vector: (column, sum so far) -> sum. The lanes are added last."""
        lanes = self.isa.lanes
        sums = tir.local(_STEP, "float32")
        for i in range(0, _STEP, lanes):
            store(sums, i, tir.f32(0.0, lanes))
        with loop(0, _steps(self.p.n)) as step:
            for i in range(0, _STEP, lanes):
                store(sums, i, add(let(step * _STEP + i), load(sums, i, lanes)))
        parts = [load(sums, i, lanes) for i in range(0, _STEP, lanes)]
        return let(tir.reduce_add(sum(parts[1:], parts[0])))


def _steps(n: Expr) -> Expr:
    """Groups of 16 columns that hold n."""
    return tir.shifted(n + (_STEP - 1), -4)


def _factor(squares: Expr, count: Expr, eps: Expr) -> Expr:
    """1 / sqrt(squares / count + eps)."""
    return let(tir.f32(1.0) / tir.sqrt(squares / count + eps))


def head_norm(spec: HeadNorm, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _head_norm(spec, isa, p))


def _head_norm(spec: HeadNorm, isa: Isa, p: SimpleNamespace) -> None:
    each = -(-spec.d // _STEP) * _STEP if spec.norm == "layer" else 0  # weights from one head to the next
    with loop(p.lo, p.hi) as token, loop(0, p.heads) as head:
        start = let(i64(token) * i64(p.ldx) + i64(head * spec.d))
        if spec.norm == "layer":
            _centre(spec, isa, p.x, start)
        squares = head_squares(spec.d, isa, p.x, start)
        factor = _factor(squares, tir.f32(spec.d), p.eps)

        def scale(at: Expr, width: int, start: Expr = start, factor: Expr = factor, first: Expr = head * each) -> None:
            x = load(p.x, start + i64(at), width)
            store(p.x, start + i64(at), x * splat(factor, width) * load(p.w, first + at, width))

        tir.cover(spec.d, isa.lanes, scale)


def _centre(spec: HeadNorm, isa: Isa, x: View, start: Expr) -> None:
    """Takes the mean of one head from it."""
    mean = let(_sum(spec.d, isa, x, start, lambda v, total: total + v) / tir.f32(spec.d))

    def centre(at: Expr, width: int) -> None:
        store(x, start + i64(at), load(x, start + i64(at), width) - splat(mean, width))

    tir.cover(spec.d, isa.lanes, centre)


def head_squares(d: int, isa: Isa, x: View, start: Expr) -> Expr:
    """Sum of squares of one head."""
    return _sum(d, isa, x, start, lambda v, total: tir.fma(isa, v, v, total))


def _sum(d: int, isa: Isa, x: View, start: Expr, gain: Callable[[Expr, Expr], Expr]) -> Expr:
    """A sum over one head, gain(vector, sum so far): per lane over whole vectors, then the lanes, then of narrower vectors."""
    total = tir.local(1, "float32")
    lanewise = tir.local(isa.lanes, "float32")
    store(lanewise, 0, tir.f32(0.0, isa.lanes))

    def add(at: Expr, width: int) -> None:
        v = let(load(x, start + i64(at), width))
        if width == isa.lanes:
            store(lanewise, 0, gain(v, load(lanewise, 0, width)))
        else:
            store(total, 0, load(total, 0) + tir.reduce_add(gain(v, tir.f32(0.0, width))))

    whole = d // isa.lanes * isa.lanes
    tir.cover(whole, isa.lanes, add)
    store(total, 0, tir.reduce_add(load(lanewise, 0, isa.lanes)))
    for at, width in tir.narrower(whole, d - whole, isa.lanes // 2):
        add(at, width)
    return let(load(total, 0))
