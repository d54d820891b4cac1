"""The Router kernel: one logit after the other. A token has a few hundred at most, and an expert costs a million times more."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.router import Router
from llmc.codegen.tir import Expr, View, f32, i32, i64, let, load, loop, store
from llmc.target import Isa

_LARGEST = 3.4028234663852886e38  # f32
_TINY = 1e-20  # joins a sum of sigmoids, which may all have vanished


def generate(spec: Router, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _Router(spec, isa, p).emit())


class _Descent:
    """Walks over numbers from the largest down, the lower index of two equal ones first. Nothing is marked as taken."""

    def __init__(self) -> None:
        self.best, self.last = (tir.local(1, "float32") for _ in range(2))
        self.who, self.last_who = (tir.local(1, "int32") for _ in range(2))

    def start(self) -> None:
        store(self.last, 0, f32(_LARGEST))
        store(self.last_who, 0, i32(-1))

    def next(self, numbers: View, first: Expr, count: Expr) -> Expr:
        """Index of the largest number that comes after the last one: smaller, or equal with a higher index."""
        store(self.best, 0, f32(-_LARGEST))
        store(self.who, 0, i32(0))
        with loop(0, count) as i:
            x = let(load(numbers, first + i64(i)))
            with tir.when(x > load(self.best, 0)):
                equal = x == load(self.last, 0)
                with tir.when(tir.either_way(equal, i > load(self.last_who, 0), x < load(self.last, 0))):
                    store(self.best, 0, x)
                    store(self.who, 0, i)
        store(self.last, 0, load(self.best, 0))
        store(self.last_who, 0, load(self.who, 0))
        return let(load(self.who, 0))


class _Router:
    """One kernel being written: the parameters, and the variables of a token."""

    def __init__(self, spec: Router, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.descent = _Descent()
        self.top, self.total, self.first, self.second = (tir.local(1, "float32") for _ in range(4))

    def emit(self) -> None:
        p = self.p
        with loop(p.lo, p.hi) as token:
            self.row, self.out = let(i64(token) * i64(p.ld)), let(i64(token) * i64(p.ldo))
            self.choices = let(i64(token) * i64(p.ldc))
            self.measure()
            if self.spec.has_choices:
                self.choose_by_scores()
            if self.spec.best_of_group:
                self.leave_groups()
            self.descent.start()
            numbers, first = (p.choices, self.choices) if self.spec.has_choices else (p.logits, self.row)
            with loop(0, p.used) as slot:
                store(p.ids, self.out + i64(slot), self.descent.next(numbers, first, p.n))
            if self.spec.gate == "sparsemixer":
                self.mix()
            else:
                self.weigh()

    def logit(self, expert: Expr) -> Expr:
        return let(load(self.p.logits, self.row + i64(expert)))

    def measure(self) -> None:
        """The largest logit, and what the exponentials of all add up to, where scores need them."""
        if self.spec.gate != "softmax":
            return
        store(self.top, 0, f32(-_LARGEST))
        with loop(0, self.p.n) as expert:
            store(self.top, 0, tir.maximum(self.logit(expert), load(self.top, 0)))
        store(self.total, 0, f32(0.0))
        with loop(0, self.p.n) as expert:
            store(self.total, 0, load(self.total, 0) + self.score(expert))

    def score(self, expert: Expr) -> Expr:
        """Of softmax: before it is divided by the total."""
        x = self.logit(expert)
        if self.spec.gate == "softmax":
            return let(tir.exp(self.isa, x - load(self.top, 0)))
        return let(f32(1.0) / (f32(1.0) + let(tir.exp(self.isa, f32(0.0) - x))))

    def choose_by_scores(self) -> None:
        with loop(0, self.p.n) as expert:
            score = self.score(expert)
            if self.spec.gate == "softmax":
                score = let(score / load(self.total, 0))
            bias = load(self.p.bias, expert) if self.spec.biased else f32(0.0)
            store(self.p.choices, self.choices + i64(expert), score + bias)

    def leave_groups(self) -> None:
        """Experts of groups that are not used become the last choices."""
        p, size = self.p, let(self.p.n // self.p.groups)
        scores = let(self.choices + i64(p.n))
        with loop(0, p.groups) as group:
            store(p.choices, scores + i64(group), self.score_of_group(let(self.choices + i64(group * size)), size))
        self.descent.start()
        with loop(0, p.groups_used):
            self.descent.next(p.choices, scores, p.groups)
        with loop(0, p.groups) as group:
            x, last = let(load(p.choices, scores + i64(group))), let(load(self.descent.last, 0))
            left = tir.either_way(x == last, group > load(self.descent.last_who, 0), x < last)
            with tir.when(left), loop(0, size) as i:
                store(p.choices, self.choices + i64(group * size + i), f32(-_LARGEST))

    def score_of_group(self, start: Expr, size: Expr) -> Expr:
        store(self.first, 0, f32(-_LARGEST))
        store(self.second, 0, f32(-_LARGEST))
        with loop(0, size) as i:
            x, first = let(load(self.p.choices, start + i64(i))), let(load(self.first, 0))
            store(self.second, 0, tir.maximum(load(self.second, 0), tir.minimum(x, first)))
            store(self.first, 0, tir.maximum(first, x))
        return load(self.first, 0) + load(self.second, 0) if self.spec.best_of_group == 2 else load(self.first, 0)

    def weigh(self) -> None:
        """The scores of the experts chosen become their weights."""
        p = self.p
        if self.spec.normalize or self.spec.gate == "sigmoid":
            store(self.total, 0, f32(_TINY if self.spec.normalize else 1.0))
        with loop(0, p.used) as slot:
            at = let(self.out + i64(slot))
            score = self.score(let(load(p.ids, at)))
            store(p.weights, at, score)
            if self.spec.normalize:
                store(self.total, 0, load(self.total, 0) + score)
        with loop(0, p.used) as slot:
            at = let(self.out + i64(slot))
            store(p.weights, at, load(p.weights, at) / load(self.total, 0) * p.scale)

    def mix(self) -> None:
        """Each weight is the expert's share among those that come after it and are near."""
        p = self.p
        with loop(0, p.used) as slot:
            at = let(self.out + i64(slot))
            who = let(load(p.ids, at))
            own = self.logit(who)
            store(self.total, 0, f32(0.0))
            with loop(0, p.n) as expert:
                x = self.logit(expert)
                before = tir.either_way(x == own, expert < who, x > own)
                far = own - x > p.jitter * f32(2.0) * tir.maximum(tir.absolute(x), own)
                share = tir.select(before, f32(0.0), tir.select(far, f32(0.0), let(tir.exp(self.isa, x - own))))
                store(self.total, 0, load(self.total, 0) + share)
            store(p.weights, at, p.scale / load(self.total, 0))
