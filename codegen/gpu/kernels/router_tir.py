"""The work of one lane for a router: scores, choices in shared memory, the best of them one after the other."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.gpu.simt import Thread, device_func, exp, register, shared
from llmc.codegen.tir import Expr, PrimFunc, View, f32, let, load, loop, select, store, when
from llmc.gpu import Device

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.router import GpuRouter

LOWEST = -3.0e38  # of what is not to be chosen


def generate(spec: "GpuRouter", device: Device) -> PrimFunc:
    return device_func(spec, device, lambda p, t: _Router(spec, p, t).emit())


class _Router:
    """The kernel being written. `choices`: what experts are chosen by; one that was chosen becomes LOWEST."""

    def __init__(self, spec: "GpuRouter", p: SimpleNamespace, t: Thread) -> None:
        self.spec, self.how, self.p, self.t = spec, spec.how, p, t
        self.choices = shared(spec.experts, "float32")
        self.row, self.out = let(t.x * p.ld), let(t.x * p.ldo)

    def emit(self) -> None:
        how, t = self.how, self.t
        if how.gate == "softmax":
            self.softmax()
        t.strided(self.spec.experts, lambda i: store(self.choices, i, self.choice(i)))
        t.sync()
        if how.best_of_group:
            self.drop_groups()
        total = register(f32(0.0))
        with loop(0, self.p.used) as slot:
            value, expert = best(t, self.choices, self.spec.experts)
            weight = let(self.share(value) if how.gate == "sparsemixer" else self.score(self.logit(expert)))
            store(total, 0, total[0] + weight)
            with when(t.lane == 0):
                store(self.p.ids, self.out + slot, expert)
                store(self.p.weights, self.out + slot, weight)
                store(self.choices, expert, f32(LOWEST))
            t.sync()
        factor = let(self.p.scale / (total[0] + f32(1e-20)) if how.normalize else self.p.scale)
        with when(t.lane == 0), loop(0, self.p.used) as slot:  # what this lane wrote
            store(self.p.weights, self.out + slot, load(self.p.weights, self.out + slot) * factor)

    def logit(self, expert: Expr) -> Expr:
        return let(load(self.p.logits, self.row + expert))

    def softmax(self) -> None:
        """Finds the largest logit and the sum of powers."""
        largest, total = register(f32(LOWEST)), register(f32(0.0))
        self.t.strided(self.spec.experts, lambda i: store(largest, 0, tir.maximum(largest[0], self.logit(i))))
        self.largest = self.t.max_lanes(largest[0])
        self.t.strided(self.spec.experts, lambda i: store(total, 0, total[0] + exp(self.logit(i) - self.largest)))
        self.total = self.t.sum_lanes(total[0])

    def score(self, logit: Expr) -> Expr:
        if self.how.gate == "softmax":
            return exp(logit - self.largest) / self.total
        return f32(1.0) / (f32(1.0) + exp(f32(0.0) - logit))

    def choice(self, expert: Expr) -> Expr:
        if not self.how.has_choices:
            return self.logit(expert)
        score = self.score(self.logit(expert))
        return score + load(self.p.bias, expert) if self.how.biased else score

    def share(self, own: Expr) -> Expr:
        """Of the logit `own`, the largest left, among those left that are near it."""
        total = register(f32(0.0))

        def add(i: Expr) -> None:
            left, logit = let(self.choices[i]), self.logit(i)
            size = tir.maximum(tir.maximum(logit, f32(0.0) - logit), own)
            near = own - left <= f32(2.0) * self.p.jitter * size
            store(total, 0, total[0] + select(near, exp(tir.minimum(left - own, f32(0.0))), f32(0.0)))

        self.t.strided(self.spec.experts, add)
        return f32(1.0) / self.t.sum_lanes(total[0])

    def drop_groups(self) -> None:
        """Leaves the choices of the best groups alone. A lane a group, or several."""
        p, t = self.p, self.t
        sums, kept = shared(self.spec.experts, "float32"), shared(self.spec.experts, "float32")
        size = let(self.spec.experts // p.groups)

        def rate(group: Expr) -> None:
            first, second = register(f32(LOWEST)), register(f32(LOWEST))
            with loop(0, size) as i:
                value = let(load(self.choices, group * size + i))
                store(second, 0, tir.maximum(second[0], tir.minimum(first[0], value)))
                store(first, 0, tir.maximum(first[0], value))
            store(sums, group, first[0] + second[0] if self.how.best_of_group == 2 else first[0])
            store(kept, group, f32(0.0))

        t.strided(p.groups, rate)
        t.sync()
        with loop(0, p.groups_used):
            _, group = best(t, sums, p.groups)
            with when(t.lane == 0):
                store(kept, group, f32(1.0))
                store(sums, group, f32(LOWEST))
            t.sync()

        def drop(i: Expr) -> None:
            with when(kept[i // size] == f32(0.0)):
                store(self.choices, i, f32(LOWEST))

        t.strided(self.spec.experts, drop)
        t.sync()


def best(t: Thread, values: View, count: Expr) -> tuple[Expr, Expr]:
    """The largest of `count` numbers in shared memory and its index, the lower one of two equal ones, in all lanes. 0 where none
    is above LOWEST."""
    largest, index = register(f32(LOWEST)), register(tir.i32(0), "int32")

    def look(i: Expr) -> None:
        value = let(load(values, i))
        with when(value > largest[0]):
            store(largest, 0, value)
            store(index, 0, i)

    t.strided(count, look)
    for mask in (16, 8, 4, 2, 1):  # in variables: TVM's simplifier takes minutes over a chain of named choices
        other = let(t.xor(let(largest[0]), mask))
        other_index = let(tir.convert(t.xor(let(tir.convert(index[0], "float32")), mask), "int32"))
        with when(T.Or(other > largest[0], T.And(other == largest[0], other_index < index[0]))):
            store(largest, 0, other)
            store(index, 0, other_index)
    return let(largest[0]), let(index[0])
