"""Keys and values of new tokens into the paged KV cache; keys may be rotated on their way (codegen/kernels/kv_append.py)."""

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

            def put(feature: "Expr", value: "Expr") -> None:
                tir.store(cache, keys + tir.i64(feature * PAGE_TOKENS), stored(device, value, self.dtype))

            def turn(pair: "Expr") -> None:
                a, b = gpu_rope.turned(p.k, p.table, k, t.y * self.rot, pair, half, self.style)
                first, second = gpu_rope.pair_at(pair, half, self.style)
                put(first, a)
                put(second, b)

            if half:
                t.strided(half, turn)
            if d > self.rot:
                t.strided(d - self.rot, lambda i: put(i + self.rot, tir.load(p.k, k + i + self.rot)))
            t.strided(d, lambda i: tir.store(cache, values + tir.i64(i), stored(device, tir.load(p.v, v + i), self.dtype)))

        return simt.device_func(self, device, body)


def page(kv: "View", p: SimpleNamespace, sequence: "Expr", position: "Expr", dtype: str) -> tuple["View", "Expr"]:
    """The cache as elements of its stored type, and the element at which the page of a position starts."""
    from llmc.codegen import tir

    size = {"f16": 2, "f32": 4}[dtype]
    number = tir.load(p.tables, sequence * p.table_stride + position // PAGE_TOKENS)
    start = tir.let(tir.i64(number) * (p.page_bytes // tir.i64(size)))
    return tir.view(kv, {"f16": "uint16", "f32": "float32"}[dtype]), start


def stored(device: "Device", value: "Expr", dtype: str) -> "Expr":
    """An f32 as the cache keeps it."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    return tir.f32_to_f16(simt.lane(device), value) if dtype == "f16" else value


def read(device: "Device", cached: "Expr", dtype: str) -> "Expr":
    """An element of the cache as f32."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    return tir.f16_to_f32(simt.lane(device), cached) if dtype == "f16" else cached
