"""The work of one thread for attention: scores of two keys a lane, then sums of values with some features a lane."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.gpu.kernels.kv_append import page, read, scales
from llmc.codegen.gpu.simt import Thread, device_func, exp, opaque, register, registers, shared, tanh
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.tir import Expr, PrimFunc, f32, let, load, loop, store, when
from llmc.gpu import Device

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.attention import GpuAttention, GpuAttentionBoth, GpuAttentionMerge
    from llmc.codegen.gpu.kernels.latent_attention import GpuLatentAttention

    Spec = GpuAttention | GpuAttentionBoth | GpuLatentAttention

LOWEST = -1e30  # stands for minus infinity, of which a difference would be NaN
KEYS = PAGE_TOKENS // 32  # of a page, for a lane


def attention(spec: "GpuAttention", device: Device) -> PrimFunc:
    return device_func(spec, device, lambda p, t: Block(spec, p, t).emit())


def both(spec: "GpuAttentionBoth", device: Device) -> PrimFunc:
    return device_func(spec, device, lambda p, t: _Both(spec, p, t).emit())


class Block:
    """The kernel being written: registers and shared memory of a block of `spec.heads` query heads."""

    def __init__(self, spec: "Spec", p: SimpleNamespace, t: Thread) -> None:
        self.spec, self.p, self.t = spec, p, t
        self.heads, self.features = spec.heads, spec.features
        self.chances = shared(t.warps * self.heads * PAGE_TOKENS, "float32")
        self.warp_states = shared(t.warps * self.heads * (spec.values + 2), "float32")
        self.largest = registers(self.heads, f32(LOWEST))
        self.total = registers(self.heads, f32(0.0))
        self.acc = registers(self.heads * self.features, f32(0.0))

    def emit(self) -> None:
        spec, p, t = self.spec, self.p, self.t
        blocks = spec.heads_per_kv // self.heads  # of a KV head
        self.kv_head = let(t.x // blocks)
        self.first_head = let(t.x * self.heads)
        self.position = let(load(p.positions, t.y))
        self.sequence = let(load(p.sequence, t.y))
        self.load_queries(let(t.y * p.ldq + self.first_head * spec.d))
        first, count = self.pages()
        with loop(0, let((count + (t.warps - 1)) // t.warps)) as turn:  # the same for all warps: there are barriers inside
            number = let(turn * t.warps + t.warp)
            self.page(let(first + number), number < count)
        self.leave_state()
        t.sync()
        self.join()

    def load_queries(self, start: Expr) -> None:
        """Times the scale, into memory of the block."""
        n = self.heads * self.spec.d
        self.queries = shared(n, "float32")
        self.t.strided(n, lambda i: store(self.queries, i, load(self.p.q, start + i) * self.p.scale))
        self.t.sync()

    def pages(self) -> tuple[Expr, Expr]:
        """The first page of this block's range, and how many it has."""
        p = self.p
        oldest = opaque(tir.maximum(self.position - p.window + 1, tir.i32(0)) // PAGE_TOKENS) if self.spec.window else tir.i32(0)
        pages = opaque(self.position // PAGE_TOKENS + 1 - oldest)
        if not self.spec.split:
            return oldest, pages
        each = opaque((pages + p.splits - 1) // p.splits)
        start = opaque(tir.minimum(self.t.z * each, pages))
        return opaque(oldest + start), opaque(tir.minimum(each, pages - start))

    def page(self, number: Expr, mine: Expr) -> None:
        """Adds a page; where it is not `mine`, page 0 of the sequence is read and counts nothing."""
        t, spec = self.t, self.spec
        at = let(tir.select(mine, number * PAGE_TOKENS, tir.i32(0)))
        self.cache, start = page(self.p.kv, self.p, self.sequence, at, spec.dtype)
        keys, values = self.places(start)
        self.find_scales(start)
        scores = self.scores(keys)
        own = [let(at + t.lane * KEYS + i) for i in range(KEYS)]
        seen = [self.seen(key, mine) for key in own]
        t.sync()  # the chances of the page before have been used
        for h in range(self.heads):
            self.weigh(h, [scores[h * KEYS + i] for i in range(KEYS)], own, seen)
        t.sync()
        self.sum_values(values)

    def places(self, start: Expr) -> tuple[Expr, Expr]:
        """Where the keys and the values of the KV head lie in a page that begins at `start`."""
        size = self.spec.d * PAGE_TOKENS
        return let(start + tir.i64(self.kv_head * size)), let(start + tir.i64((self.p.kv_heads + self.kv_head) * size))

    def find_scales(self, start: Expr) -> None:
        """Of this lane's keys and values, where codes have them."""
        self.key_scales, self.value_scales = [f32(1.0)] * KEYS, [f32(1.0)] * KEYS
        if self.spec.dtype == "q8":
            found, first = tir.view(self.p.kv, "float32"), scales(start, self.p.kv_heads, self.spec.d)
            of_keys = let(first + tir.i64(self.kv_head * PAGE_TOKENS + self.t.lane * KEYS))
            of_values = let(of_keys + tir.i64(self.p.kv_heads * PAGE_TOKENS))
            self.key_scales = [let(load(found, of_keys + tir.i64(i))) for i in range(KEYS)]
            self.value_scales = [let(load(found, of_values + tir.i64(i))) for i in range(KEYS)]

    def scores(self, keys: Expr) -> tir.View:
        """q . k of this lane's keys for every head, [heads][KEYS]."""
        spec, sums = self.spec, registers(self.heads * KEYS, f32(0.0))
        with loop(0, spec.d) as feature:
            at = let(keys + tir.i64(feature * PAGE_TOKENS + self.t.lane * KEYS))
            k = [let(self.read(at + tir.i64(i))) for i in range(KEYS)]
            for h in range(self.heads):
                q = let(load(self.queries, h * spec.d + feature))
                for i in range(KEYS):
                    store(sums, h * KEYS + i, sums[h * KEYS + i] + q * k[i])
        return sums

    def seen(self, key: Expr, mine: Expr) -> Expr:
        """1 where the token sees the key, else 0: a number, as conditions that are used often make TVM's simplifier slow."""
        key = let(key)
        condition = T.And(mine, key <= self.position)
        if self.spec.window:
            condition = T.And(condition, key > self.position - self.p.window)
        return let(T.if_then_else(condition, f32(1.0), f32(0.0)))

    def weigh(self, h: int, scores: list[Expr], keys: list[Expr], seen: list[Expr]) -> None:
        """Scores to chances e^(s - m) in shared memory; sums and the accumulators of the head are brought to the new m."""
        if self.spec.dtype == "q8":
            scores = [let(s * scale) for s, scale in zip(scores, self.key_scales, strict=True)]
        if self.spec.slopes:
            slope = let(load(self.p.of_heads, self.first_head + h))
            back = [register(tir.convert(self.position - key, "float32")) for key in keys]  # TVM has no bounds for these floats
            scores = [let(s - slope * distance[0]) for s, distance in zip(scores, back, strict=True)]
        if self.spec.softcap:
            scores = [let(self.p.softcap * tanh(s / self.p.softcap)) for s in scores]
        scores = [let(s * ok + f32(LOWEST) * (f32(1.0) - ok)) for s, ok in zip(scores, seen, strict=True)]
        top = scores[0]
        for s in scores[1:]:
            top = let(tir.maximum(top, s))
        before = let(load(self.largest, h))
        top = let(tir.maximum(self.t.max_lanes(top), before))
        shrink = let(exp(before - top))
        chances = [let(exp(s - top) * ok) for s, ok in zip(scores, seen, strict=True)]
        store(self.total, h, self.total[h] * shrink + self.t.sum_lanes(sum(chances[1:], chances[0])))
        store(self.largest, h, top)
        for j in range(self.features):
            store(self.acc, h * self.features + j, self.acc[h * self.features + j] * shrink)
        for i, chance in enumerate(chances):
            weighed = chance * self.value_scales[i] if self.spec.dtype == "q8" else chance
            store(self.chances, (self.t.warp * self.heads + h) * PAGE_TOKENS + self.t.lane * KEYS + i, weighed)

    def sum_values(self, values: Expr) -> None:
        with loop(0, PAGE_TOKENS) as key:
            row = let(values + tir.i64(key * self.spec.d))
            v = [let(self.value(row, let(self.t.lane + 32 * j), j)) for j in range(self.features)]
            for h in range(self.heads):
                chance = let(load(self.chances, (self.t.warp * self.heads + h) * PAGE_TOKENS + key))
                for j in range(self.features):
                    at = h * self.features + j
                    store(self.acc, at, self.acc[at] + chance * v[j])

    def value(self, row: Expr, feature: Expr, j: int) -> Expr:
        loaded = self.read(row + tir.i64(feature))
        whole = 32 * (j + 1) <= self.spec.values
        return loaded if whole else tir.either_way(feature < self.spec.values, loaded, f32(0.0))

    def read(self, at: Expr) -> Expr:
        return read(self.t.device, load(self.cache, at), self.spec.dtype)

    def leave_state(self) -> None:
        """m, z and acc of each head of this warp into shared memory."""
        spec, t = self.spec, self.t
        for h in range(self.heads):
            row = let((t.warp * self.heads + h) * (spec.values + 2))
            with when(t.lane == 0):
                store(self.warp_states, row, self.largest[h])
                store(self.warp_states, row + 1, self.total[h])
            for j in range(self.features):
                feature = let(t.lane + 32 * j)
                with when(feature < spec.values):
                    store(self.warp_states, row + 2 + feature, self.acc[h * self.features + j])

    def join(self) -> None:
        """The states of the warps become the result, or the state of the block, head by head."""
        for h in range(self.heads):
            self.join_head(h, let(self.first_head + h))

    def join_head(self, h: int, head: Expr) -> None:
        spec, p, t = self.spec, self.p, self.t
        rows = [(w * self.heads + h) * (spec.values + 2) for w in range(t.warps)]
        m, factors, z = _merged([let(self.warp_states[row]) for row in rows], [let(self.warp_states[row + 1]) for row in rows])
        if spec.split:
            state = let(tir.i64((t.y * (p.kv_heads * spec.heads_per_kv) + head) * p.splits + t.z) * tir.i64(spec.values + 2))
            with when(t.index == 0):
                store(p.states, state, m)
                store(p.states, state + tir.i64(1), z)
        elif spec.sinks:
            z = let(z + exp(load(p.of_heads, head) - m))

        def write(i: Expr) -> None:
            values = [self.warp_states[row + 2 + i] * f for row, f in zip(rows, factors, strict=True)]
            total = sum(values[1:], values[0])
            if spec.split:
                store(p.states, state + tir.i64(2) + tir.i64(i), total)
            else:
                store(p.o, t.y * p.ldo + head * spec.values + i, total / z)

        t.strided(spec.values, write)


class _Both(Block):
    """Of an encoder: keys on both sides of the token."""

    def pages(self) -> tuple[Expr, Expr]:
        p = self.p
        self.keys = let(load(p.starts, self.sequence + 1) - load(p.starts, self.sequence))
        if not self.spec.window:
            return tir.i32(0), opaque((self.keys + (PAGE_TOKENS - 1)) // PAGE_TOKENS)
        first = opaque(tir.maximum(self.position - p.reach, tir.i32(0)) // PAGE_TOKENS)
        last = opaque(tir.minimum(self.position + p.reach, self.keys - 1) // PAGE_TOKENS)
        return first, opaque(last + 1 - first)

    def seen(self, key: Expr, mine: Expr) -> Expr:
        condition = T.And(mine, key < self.keys)
        if self.spec.window:
            reach = self.p.reach
            condition = T.And(condition, T.And(key - self.position <= reach, self.position - key <= reach))
        return let(T.if_then_else(condition, f32(1.0), f32(0.0)))


def _merged(largest: list[Expr], totals: list[Expr]) -> tuple[Expr, list[Expr], Expr]:
    """The common maximum of some states, the factor of each, and the sum of their denominators."""
    m = largest[0]
    for other in largest[1:]:
        m = let(tir.maximum(m, other))
    factors = [let(exp(one - m)) for one in largest]
    products = [z * f for z, f in zip(totals, factors, strict=True)]
    return m, factors, let(sum(products[1:], products[0]))


def merge(spec: "GpuAttentionMerge", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        states = let(tir.i64((t.y * p.heads + t.x) * p.splits) * tir.i64(spec.d + 2))

        def row(split: Expr) -> Expr:
            return states + tir.i64(split) * tir.i64(spec.d + 2)

        m, z = register(f32(LOWEST)), register(f32(0.0))
        with loop(0, p.splits) as split:
            store(m, 0, tir.maximum(m[0], load(p.states, row(split))))
        with loop(0, p.splits) as split:
            at = let(row(split))
            store(z, 0, z[0] + load(p.states, at + tir.i64(1)) * exp(load(p.states, at) - m[0]))
        if spec.sinks:
            store(z, 0, z[0] + exp(load(p.of_heads, t.x) - m[0]))

        def write(i: Expr) -> None:
            total = register(f32(0.0))
            with loop(0, p.splits) as split:
                at = let(row(split))
                store(total, 0, total[0] + load(p.states, at + tir.i64(2) + tir.i64(i)) * exp(load(p.states, at) - m[0]))
            store(p.o, t.y * p.ldo + t.x * spec.d + i, total[0] / z[0])

        t.strided(spec.d, write)

    return device_func(spec, device, body)
