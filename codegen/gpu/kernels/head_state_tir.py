"""The work of one lane for layers whose heads keep a matrix: its columns of one row, token by token."""

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.gpu.kernels import states
from llmc.codegen.gpu.kernels.head_state import CHANNELS, LANES
from llmc.codegen.gpu.simt import Thread, device_func, exp, opaque, register, rsqrt, softplus
from llmc.codegen.tir import Expr, PrimFunc, View, f32, i64, let, load, loop, store, when
from llmc.gpu import Device
from llmc.ir.recurrence import LENGTH_EPS

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.head_state import GpuDeltaRule, GpuSsd


class _Row:
    """A row of a head's matrix: `columns` of it, of which this lane has some in the registers `s`.

    All lanes of a block take part in every sum, so a channel past the last does the work of the last and writes nothing.
    """

    def __init__(self, p: SimpleNamespace, t: Thread, channels: int, columns: int) -> None:
        self.t, self.columns = t, columns
        blocks = -(-channels // CHANNELS)
        self.head = let(t.x // blocks)
        asked = let(t.x % blocks * CHANNELS + t.index // LANES)
        self.channel = opaque(tir.minimum(asked, tir.i32(channels - 1)))
        self.mine = let(asked < channels)
        self.lane = let(t.index % LANES)
        self.state, start = states.slot(p, t.y)
        rows = -(-channels // 16) * 16  # of a head's matrix, in a slot
        self.start = let(start + i64((self.head * rows + self.channel) * columns))
        self.count = -(-columns // LANES)
        self.s = self.read(self.state, self.start)

    def read(self, memory: View, start: Expr) -> View:
        """This lane's columns of a row that begins at `start`; 0 where it has fewer than other lanes."""
        cells = tir.local(self.count, "float32")
        for i in range(self.count):
            column = let(self.lane + LANES * i)
            value = load(memory, start + i64(column))
            store(cells, i, value if self.whole(i) else tir.either_way(column < self.columns, value, f32(0.0)))
        return cells

    def whole(self, i: int) -> bool:
        return LANES * (i + 1) <= self.columns

    def dot(self, a: View, b: View) -> Expr:
        """The sum of products over a row, in all its lanes."""
        total = register(f32(0.0))
        for i in range(self.count):
            store(total, 0, total[0] + a[i] * b[i])
        return self.t.sum_lanes(total[0], LANES)

    def write(self) -> None:
        for i in range(self.count):
            column = let(self.lane + LANES * i)
            with when(T.And(self.mine, column < self.columns)):
                store(self.state, self.start + i64(column), self.s[i])

    def put(self, y: View, at: Expr, value: Expr) -> None:
        with when(T.And(self.mine, self.lane == 0)):
            store(y, at, value)


def ssd(spec: "GpuSsd", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        row = _Row(p, t, spec.head_dim, spec.features)
        first, end = states.tokens(p, t.y)
        bias, a, d = (let(load(vector, row.head)) for vector in (p.bias, p.a, p.d))
        group = let(row.head // (p.heads // p.groups))
        b_at = let(p.heads * spec.head_dim + group * spec.features)
        c_at = let(b_at + p.groups * spec.features)
        own = let(row.head * spec.head_dim + row.channel)
        with loop(first, end) as token:
            start = let(i64(token) * i64(p.ldx))
            dt = softplus(load(p.dt, token * p.lddt + row.head) + bias)
            dt = register(tir.minimum(tir.maximum(dt, p.dt_min), p.dt_max))[0]  # TVM cannot name a minimum of a maximum
            x, decay = let(load(p.x, start + i64(own))), let(exp(dt * a))
            b, c, step = row.read(p.x, let(start + i64(b_at))), row.read(p.x, let(start + i64(c_at))), let(dt * x)
            for i in range(row.count):
                store(row.s, i, row.s[i] * decay + step * b[i])
            row.put(p.y, token * p.ldy + own, row.dot(row.s, c) + d * x)
        row.write()

    return device_func(spec, device, body)


def delta_rule(spec: "GpuDeltaRule", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        row = _Row(p, t, spec.value_dim, spec.key_dim)
        first, end = states.tokens(p, t.y)
        bias, a = (let(load(vector, row.head)) for vector in (p.bias, p.a))
        key_head = row.head % p.key_heads if spec.tiled else row.head // (p.heads // p.key_heads)
        q_at, keys = let(key_head * spec.key_dim), let(p.key_heads * spec.key_dim)
        own = let(row.head * spec.value_dim + row.channel)
        with loop(first, end) as token:
            start, gates = let(i64(token) * i64(p.ldx)), let(token * p.ldh + row.head)
            q, k = row.read(p.x, let(start + i64(q_at))), row.read(p.x, let(start + i64(keys + q_at)))
            of_q, of_k = (let(rsqrt(row.dot(v, v) + f32(LENGTH_EPS))) for v in (q, k))
            decay = let(exp(a * softplus(load(p.dt, gates) + bias)))
            step = let(f32(1.0) / (f32(1.0) + exp(f32(0.0) - load(p.beta, gates))))
            for i in range(row.count):
                store(row.s, i, row.s[i] * decay)
                store(k, i, k[i] * of_k)
            error = let((load(p.x, start + i64(keys * 2 + own)) - row.dot(row.s, k)) * step)
            for i in range(row.count):
                store(row.s, i, row.s[i] + error * k[i])
            row.put(p.y, token * p.ldy + own, row.dot(row.s, q) * of_q * f32(1 / math.sqrt(spec.key_dim)))
        row.write()

    return device_func(spec, device, body)
