"""Keys and values of new tokens into the paged KV cache; keys may be rotated on their way (codegen/kernels/kv_append.py)."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels import rope as gpu_rope
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels import rope
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.kv_append import PAGE_TOKENS, check

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc, View
    from llmc.gpu import Device

    Put = Callable[[Expr, Expr], None]


@dataclass(frozen=True)
class GpuKvAppend:
    """Token t belongs to row sequence[t] of `tables`, whose entries are page numbers; its position is positions[t].

    k [T, ldk], v [T, ldv], heads * d columns; table [T, rot]. kv points at the layer inside page 0. A block a token and head.
    """

    d: int
    dtype: str
    rot: int = 0
    style: str = "half"

    def __post_init__(self) -> None:
        rope.check(self.d, self.rot, self.style)
        check(self.d, self.dtype)

    @property
    def symbol(self) -> str:
        return f"kv_append_d{self.d}_{self.dtype}" + (f"_{self.style}_r{self.rot}" if self.rot else "")

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *k, const float *v, const float *table, uint8_t *kv, const int32_t *tables, const int32_t *sequence, "
            "const int32_t *positions, int32_t heads, int32_t ldk, int32_t ldv, int32_t table_stride, int64_t page_bytes, "
            "int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("heads", "n_tokens", "1"), 32)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        d, half = self.d, self.rot // 2

        def body(p: SimpleNamespace, t: "Thread") -> None:
            cache, start = page(p.kv, p, tir.load(p.sequence, t.y), tir.load(p.positions, t.y), self.dtype)
            slot = tir.let(tir.load(p.positions, t.y) % PAGE_TOKENS)
            keys = tir.let(start + tir.i64(t.x * (d * PAGE_TOKENS)) + tir.i64(slot))
            values = tir.let(start + tir.i64((p.heads + t.x) * (d * PAGE_TOKENS)) + tir.i64(slot * d))
            k, v = tir.let(t.y * p.ldk + t.x * d), tir.let(t.y * p.ldv + t.x * d)

            def key(put: "Put") -> None:
                """put(feature, value) for every feature of the key that is this thread's."""

                def turn(pair: "Expr") -> None:
                    a, b = gpu_rope.turned(p.k, p.table, k, t.y * self.rot, pair, half, self.style)
                    first, second = gpu_rope.pair_at(pair, half, self.style)
                    put(first, a)
                    put(second, b)

                if half:
                    t.strided(half, turn)
                if d > self.rot:
                    t.strided(d - self.rot, lambda i: put(i + self.rot, tir.load(p.k, k + i + self.rot)))

            def value(put: "Put") -> None:
                t.strided(d, lambda i: put(i, tir.load(p.v, v + i)))

            def kept(vector: "Callable[[Put], None]", first: "Expr", step: int, scale_at: "Expr | None") -> None:
                """Writes a vector, feature i to first + i * step; "q8" in codes, with their scale."""
                if scale_at is None:
                    vector(lambda i, x: tir.store(cache, first + tir.i64(i * step), stored(device, x, self.dtype)))
                    return
                largest = simt.register(tir.f32(0.0))

                def look(_: "Expr", x: "Expr") -> None:
                    x = tir.let(x)
                    tir.store(largest, 0, tir.maximum(largest[0], tir.maximum(x, tir.f32(0.0) - x)))

                vector(look)
                top = t.max_lanes(largest[0])
                inverse = tir.let(tir.minimum(tir.f32(127.0) / tir.maximum(top, tir.f32(1e-38)), tir.f32(3.4e38)))
                vector(lambda i, x: tir.store(cache, first + tir.i64(i * step), simt.rounded(x * inverse)))
                with tir.when(t.index == 0):
                    tir.store(tir.view(p.kv, "float32"), scale_at, top / tir.f32(127.0))

            at = scales(start, p.heads, d) if self.dtype == "q8" else None
            k_scale = None if at is None else at + tir.i64(t.x * PAGE_TOKENS + slot)
            v_scale = None if at is None else at + tir.i64((p.heads + t.x) * PAGE_TOKENS + slot)
            kept(key, keys, PAGE_TOKENS, k_scale)
            kept(value, values, 1, v_scale)

        return simt.device_func(self, device, body)


def page(kv: "View", p: SimpleNamespace, sequence: "Expr", position: "Expr", dtype: str) -> tuple["View", "Expr"]:
    """The cache as elements of its stored type, and the element at which the page of a position starts."""
    from llmc.codegen import tir

    size, element = {"f16": (2, "uint16"), "f32": (4, "float32"), "q8": (1, "int8")}[dtype]
    number = tir.load(p.tables, sequence * p.table_stride + position // PAGE_TOKENS)
    start = tir.let(tir.i64(number) * (p.page_bytes // tir.i64(size)))
    return tir.view(kv, element), start


def scales(start: "Expr", heads: "Expr", d: int) -> "Expr":
    """Where the scales of a "q8" page's keys begin, [heads][64], and after them those of its values: an index of f32."""
    from llmc.codegen import tir

    return tir.let((start + tir.i64(heads) * tir.i64(2 * d * PAGE_TOKENS)) // tir.i64(4))


def stored(device: "Device", value: "Expr", dtype: str) -> "Expr":
    """An f32 as the cache keeps it."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    return tir.f32_to_f16(simt.lane(device), value) if dtype == "f16" else value


def read(device: "Device", cached: "Expr", dtype: str) -> "Expr":
    """An element of the cache as f32; of "q8" its code."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    if dtype == "q8":
        return tir.convert(cached, "float32")
    return tir.f16_to_f32(simt.lane(device), cached) if dtype == "f16" else cached
