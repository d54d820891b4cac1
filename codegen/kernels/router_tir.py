"""The Router kernel: one logit after the other. A token has a few hundred at most, and an expert costs a million times more."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.router import Router
from llmc.codegen.tir import Expr, f32, i32, i64, let, load, loop, store
from llmc.target import Isa

_LARGEST = 3.4028234663852886e38  # f32


def generate(spec: Router, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Router(spec, isa, p).emit())


class _Router:
    """One kernel being written: the parameters, and the variables of a token."""

    def __init__(self, spec: Router, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.best, self.last, self.total = (tir.local(1, "float32") for _ in range(3))
        self.who, self.last_who = (tir.local(1, "int32") for _ in range(2))

    def emit(self) -> None:
        p = self.p
        with loop(p.lo, p.hi) as token:
            self.row, self.out = let(i64(token) * i64(p.ld)), let(i64(token) * i64(p.ldo))
            store(self.last, 0, f32(_LARGEST))
            store(self.last_who, 0, i32(-1))
            with loop(0, p.used) as slot:
                self.next(slot)
            self.weigh()

    def next(self, slot: Expr) -> None:
        """The largest logit that comes after the last one: smaller, or equal with a higher id. Nothing is marked as taken."""
        store(self.best, 0, f32(-_LARGEST))
        store(self.who, 0, i32(0))
        with loop(0, self.p.n) as expert:
            x = let(load(self.p.logits, self.row + i64(expert)))
            with tir.when(x > load(self.best, 0)):
                equal = x == load(self.last, 0)
                with tir.when(tir.either_way(equal, expert > load(self.last_who, 0), x < load(self.last, 0))):
                    store(self.best, 0, x)
                    store(self.who, 0, expert)
        store(self.p.ids, self.out + i64(slot), load(self.who, 0))
        store(self.p.weights, self.out + i64(slot), load(self.best, 0))
        store(self.last, 0, load(self.best, 0))
        store(self.last_who, 0, load(self.who, 0))

    def weigh(self) -> None:
        """Turns the logits chosen into weights."""
        p, top = self.p, let(load(self.p.weights, self.out))
        store(self.total, 0, f32(1.0))
        if self.spec.gate == "softmax" and not self.spec.normalize:
            store(self.total, 0, f32(0.0))
            with loop(0, p.n) as expert:
                score = let(self.score(load(p.logits, self.row + i64(expert)), top))
                store(self.total, 0, load(self.total, 0) + score)
        if self.spec.normalize:
            store(self.total, 0, f32(0.0))
        with loop(0, p.used) as slot:
            score = let(self.score(load(p.weights, self.out + i64(slot)), top))
            store(p.weights, self.out + i64(slot), score)
            if self.spec.normalize:
                store(self.total, 0, load(self.total, 0) + score)
        with loop(0, p.used) as slot:
            at = let(self.out + i64(slot))
            store(p.weights, at, load(p.weights, at) / load(self.total, 0) * p.scale)

    def score(self, x: Expr, top: Expr) -> Expr:
        if self.spec.gate == "softmax":
            return tir.exp(self.isa, x - top)
        return f32(1.0) / (f32(1.0) + let(tir.exp(self.isa, f32(0.0) - x)))
