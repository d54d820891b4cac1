"""The work of one thread for latent attention and the matrices around it."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.gpu.kernels.attention_tir import KEYS, Block
from llmc.codegen.gpu.kernels.linear_tir import _four
from llmc.codegen.gpu.kernels.weights import columns, units_of
from llmc.codegen.gpu.simt import Thread, device_func, lane, registers, shared
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.tir import Expr, PrimFunc, f32, i64, let, load, loop, store, when
from llmc.gpu import Device
from llmc.ir.tiles import ROWS

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.latent import GpuHeadLinear
    from llmc.codegen.gpu.kernels.latent_attention import GpuLatentAttention


def attention(spec: "GpuLatentAttention", device: Device) -> PrimFunc:
    return device_func(spec, device, lambda p, t: _Latent(spec, p, t).emit())


class _Latent(Block):
    """Keys and values are the same vectors, of which a page holds one after the other."""

    def load_queries(self, start: Expr) -> None:
        """This lane's features of the queries of all heads, in registers; 0 past the last."""
        self.parts = -(-self.spec.d // 32)
        self.q = tir.local(self.heads * self.parts, "float32")
        for h in range(self.heads):
            for j in range(self.parts):
                feature = let(self.t.lane + 32 * j)
                value = load(self.p.q, start + (feature + h * self.spec.d)) * self.p.scale
                store(self.q, h * self.parts + j, self.inside(j, feature, value))

    def inside(self, j: int, feature: Expr, value: Expr) -> Expr:
        return value if 32 * (j + 1) <= self.spec.d else tir.either_way(feature < self.spec.d, value, f32(0.0))

    def places(self, start: Expr) -> tuple[Expr, Expr]:
        return start, start

    def scores(self, keys: Expr) -> tir.View:
        t, sums = self.t, registers(self.heads * KEYS, f32(0.0))
        t.sync()  # the chances of the page before have been used
        with loop(0, PAGE_TOKENS) as key:
            products = registers(self.heads, f32(0.0))
            for j in range(self.parts):
                feature = let(t.lane + 32 * j)
                k = let(self.inside(j, feature, self.read(keys + i64(key * self.spec.d + feature))))
                for h in range(self.heads):
                    store(products, h, products[h] + self.q[h * self.parts + j] * k)
            for h in range(self.heads):
                score = t.sum_lanes(products[h])
                with when(t.lane == 0):
                    store(self.chances, (t.warp * self.heads + h) * PAGE_TOKENS + key, score)
        t.sync()
        for h in range(self.heads):
            for i in range(KEYS):
                store(sums, h * KEYS + i, load(self.chances, (t.warp * self.heads + h) * PAGE_TOKENS + t.lane * KEYS + i))
        return sums


def head_linear(spec: "GpuHeadLinear", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        parts = t.threads // ROWS
        row, part = let(t.index % ROWS), let(t.index // ROWS)
        head, tile, token = let(t.x // p.tiles), let(t.x % p.tiles), let(t.y * spec.p)
        sums, partial = registers(spec.p, f32(0.0)), shared(parts * spec.p * ROWS, "float32")

        def add(column: Expr, weights: list[Expr]) -> None:
            for i in range(spec.p):
                at = let((token + i) * p.ldx + head * p.k + column)
                x = [load(p.x, at)] if len(weights) == 1 else _four(p.x, at)
                for weight, value in zip(weights, x, strict=True):
                    store(sums, i, sums[i] + weight * value)

        units = let(units_of(spec.format, p.k))
        with loop(0, let((units + (parts - 1)) // parts)) as turn:
            unit = let(turn * parts + part)
            with when(unit < units):
                columns(lane(device), spec.format, p.w, t.x, p.k, unit, row, add)
        for i in range(spec.p):
            store(partial, (part * spec.p + i) * ROWS + row, sums[i])
        t.sync()

        def write(n: Expr) -> None:  # n = token in the tile * ROWS + row
            here, r = let(token + n // ROWS), let(tile * ROWS + n % ROWS)
            total = partial[n]
            for other in range(1, parts):
                total = total + partial[other * spec.p * ROWS + n]
            with when(T.And(here < p.n_tokens, r < p.n)):
                store(p.y, i64(here) * i64(p.ldy) + i64(head * p.width + r), total)

        t.strided(spec.p * ROWS, write)
        with when(tile == 0):
            _follow(spec, p, t, head, token)

    return device_func(spec, device, body)


def _follow(spec: "GpuHeadLinear", p: SimpleNamespace, t: Thread, head: Expr, token: Expr) -> None:
    """What follows a head's product."""
    rest = let(p.width - p.n)
    for i in range(spec.p):
        here = let(token + i)

        def put(column: Expr, here: Expr = here) -> None:
            tail = tir.either_way(column < p.tail, load(p.beside, here * p.ldb + head * p.tail + column), f32(0.0))
            store(p.y, i64(here) * i64(p.ldy) + i64(head * p.width + p.n + column), tail)

        with when(here < p.n_tokens):
            t.strided(rest, put)
