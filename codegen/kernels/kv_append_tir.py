"""The append to the KV cache. Keys go through a small buffer on the stack: rotated as vectors, then scattered element by element.

Heads are the outer loop: the cache lines of a head's keys are then written by token after token while they are in L1.
"""

from collections.abc import Callable
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.kv_append import PAGE_TOKENS, KvAppend
from llmc.codegen.kernels.kv_pages import KvPages
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

    def emit(self) -> None:
        p, d = self.p, self.spec.d
        with loop(0, p.heads) as head, loop(p.lo, p.hi) as token:
            position = let(load(p.positions, token))
            page = let(self.cache.page(tir.shifted(position, -6)))
            slot = let(tir.masked(position, PAGE_TOKENS - 1))
            self.write_key(token, head, let(self.cache.keys(page, head) + i64(slot)))
            source = let(i64(token) * i64(p.ldv) + i64(head * d))
            self.copy(p.v, source, 0, self.cache.memory, let(self.cache.values(page, head) + i64(slot * d)))

    def write_key(self, token: Expr, head: Expr, target: Expr) -> None:
        p, spec = self.p, self.spec
        source = let(i64(token) * i64(p.ldk) + i64(head * spec.d))

        def write(at: Expr, value: Expr) -> None:
            store(self.key, at, self.cache.encode(value))

        if spec.rot:
            rotate(self.isa, spec.rot, spec.style, p.table, let(i64(token) * spec.rot), self.reader(p.k, source), write)
        self.copy(p.k, source, spec.rot, self.key, 0)
        with loop(0, spec.d) as i:
            store(self.cache.memory, target + i64(i * PAGE_TOKENS), load(self.key, i))

    def reader(self, memory: View, start: Expr) -> Callable[[Expr, int], Expr]:
        return lambda at, lanes: load(memory, start + i64(at), lanes)

    def copy(self, memory: View, source: Expr, first: int, out: View, target: Expr) -> None:
        """Features [first, d) in the cache's type. Unrolled: LLVM would make a loop that copies f32 a call of memcpy."""
        for at, width in tir.narrower(first, self.spec.d - first, self.isa.lanes):
            store(out, target + at, self.cache.encode(let(load(memory, source + at, width))))
