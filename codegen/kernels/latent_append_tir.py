"""The append of latents to the paged cache."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.kernels.kv_pages import KvPages
from llmc.codegen.kernels.latent_append import LatentAppend
from llmc.codegen.tir import Expr, View, f32, i64, let, load, loop, store
from llmc.target import Isa


def generate(spec: LatentAppend, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _append(spec, isa, p))


def _append(spec: LatentAppend, isa: Isa, p: SimpleNamespace) -> None:
    cache = KvPages(isa, spec.d, spec.dtype, p, p.heads)
    with loop(p.lo, p.hi) as token:
        position = let(load(p.positions, token))
        page = let(cache.page(tir.shifted(position, -6)))
        row = let(page + i64(tir.masked(position, PAGE_TOKENS - 1) * spec.d))

        def copy(memory: View, source: Expr, target: Expr, count: int) -> None:
            """Unrolled: LLVM would make a loop that copies f32 a call of memcpy."""
            for at, width in tir.narrower(0, count, isa.lanes):
                store(cache.memory, target + i64(at), cache.encode(let(load(memory, source + i64(at), width))))

        copy(p.k, let(i64(token) * i64(p.ldk)), row, spec.latent)
        copy(p.v, let(i64(token) * i64(p.ldv)), let(row + i64(spec.latent)), spec.rotated)
        for at, width in tir.narrower(spec.latent + spec.rotated, spec.d - spec.latent - spec.rotated, isa.lanes):
            store(cache.memory, row + i64(at), cache.encode(f32(0.0, width)))
