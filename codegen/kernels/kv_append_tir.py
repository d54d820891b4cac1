"""The append to the KV cache. Keys go through a small buffer on the stack: rotated as vectors, then scattered element by element.

Heads are the outer loop: the cache lines of a head's keys are then written by token after token while they are in L1.
"""

from collections.abc import Callable
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.kv_append import PAGE_TOKENS, KvAppend
from llmc.codegen.kernels.kv_pages import KvPages
from llmc.codegen.kernels.quantize import LARGEST
from llmc.codegen.kernels.rope_tir import rotate
from llmc.codegen.tir import Expr, View, i64, let, load, loop, store
from llmc.target import Isa


def generate(spec: KvAppend, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _KvAppend(spec, isa, p).emit())


class _KvAppend:
    def __init__(self, spec: KvAppend, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.cache = KvPages(isa, spec.d, spec.dtype, p, p.heads)
        self.key = tir.local(spec.d, "uint16" if self.cache.half else "float32")
        if self.cache.quantised:
            self.codes, self.largest = tir.local(spec.d, "int8"), tir.local(1, "float32")

    def emit(self) -> None:
        p = self.p
        with loop(0, p.heads) as head, loop(p.lo, p.hi) as token:
            position = let(load(p.positions, token))
            page = let(self.cache.page(tir.shifted(position, -6)))
            slot = let(tir.masked(position, PAGE_TOKENS - 1))
            key = let(self.cache.keys(page, head) + i64(slot))
            value = let(self.cache.values(page, head) + i64(slot * self.spec.d))
            source = let(i64(token) * i64(p.ldv) + i64(head * self.spec.d))
            if self.cache.quantised:
                self.rotate_key(token, head)
                self.quantise(self.key, 0, self.codes, 0, let(self.cache.key_scales(page, head) + i64(slot)))
                self.scatter(self.codes, key)
                self.quantise(p.v, source, self.cache.memory, value, let(self.cache.value_scales(page, head) + i64(slot)))
            else:
                self.rotate_key(token, head)
                self.scatter(self.key, key)
                self.copy(p.v, source, 0, self.cache.memory, value)

    def rotate_key(self, token: Expr, head: Expr) -> None:
        """Into `key`, in the cache's type; in f32 where it is quantised after that."""
        p, spec = self.p, self.spec
        source = let(i64(token) * i64(p.ldk) + i64(head * spec.d))

        def write(at: Expr, value: Expr) -> None:
            store(self.key, at, self.encode(value))

        if spec.rot:
            rotate(self.isa, spec.rot, spec.style, p.table, let(i64(token) * spec.rot), self.reader(p.k, source), write)
        self.copy(p.k, source, spec.rot, self.key, 0)

    def scatter(self, key: View, target: Expr) -> None:
        with loop(0, self.spec.d) as i:
            store(self.cache.memory, target + i64(i * PAGE_TOKENS), load(key, i))

    def encode(self, value: Expr) -> Expr:
        return value if self.cache.quantised else self.cache.encode(value)

    def quantise(self, memory: View, source: Expr, out: View, target: Expr, scale: Expr) -> None:
        """d features as codes, and their scale. Magnitudes compare as their bits do."""
        pieces = tir.narrower(0, self.spec.d, self.isa.lanes)
        store(self.largest, 0, tir.f32(0.0))
        for at, width in pieces:
            found = tir.largest_magnitude([let(load(memory, source + at, width))])
            store(self.largest, 0, tir.maximum(load(self.largest, 0), let(found)))
        amax = let(load(self.largest, 0))
        inverse = let(tir.minimum(let(tir.f32(127.0) / amax), tir.f32(LARGEST)))
        inverse = let(tir.select(amax > tir.f32(0.0), inverse, tir.f32(0.0)))
        for at, width in pieces:
            value = let(load(memory, source + at, width) * tir.splat(inverse, width))
            store(out, target + at, self.cache.encode(value))
        store(self.cache.scales, scale, amax / tir.f32(127.0))

    def reader(self, memory: View, start: Expr) -> Callable[[Expr, int], Expr]:
        return lambda at, lanes: load(memory, start + i64(at), lanes)

    def copy(self, memory: View, source: Expr, first: int, out: View, target: Expr) -> None:
        """Features [first, d) in the cache's type. Unrolled: LLVM would make a loop that copies f32 a call of memcpy."""
        for at, width in tir.narrower(first, self.spec.d - first, self.isa.lanes):
            store(out, target + at, self.encode(let(load(memory, source + at, width))))
