"""The work of one thread for a product of experts: one row of a tile of each matrix, every so many units of columns."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen import tir
from llmc.codegen.gpu.kernels.elementwise import activated
from llmc.codegen.gpu.kernels.linear_tir import _four
from llmc.codegen.gpu.kernels.weights import columns, units_of
from llmc.codegen.gpu.simt import Thread, device_func, lane, opaque, registers, shared
from llmc.codegen.tir import Expr, PrimFunc, View, i64, let, load, loop, store, when
from llmc.gpu import Device
from llmc.ir.quant import Format
from llmc.ir.tiles import ROWS

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.experts import GpuExpertLinear


def generate(spec: "GpuExpertLinear", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        product = _Product(spec, p, t)
        if spec.p == 1:
            product.one_pair()
        else:
            product.token_tile()

    return device_func(spec, device, body)


class _Product:
    """The kernel being written: `spec.p` rows of x with one or two matrices of one expert."""

    def __init__(self, spec: "GpuExpertLinear", p: SimpleNamespace, t: Thread) -> None:
        self.spec, self.p, self.t = spec, p, t
        self.parts = t.threads // ROWS
        self.partial = [shared(self.parts * spec.p * ROWS, "float32") for _ in spec.formats]
        self.row, self.part = let(t.index % ROWS), let(t.index // ROWS)

    def one_pair(self) -> None:
        p, pair = self.p, self.t.y
        expert = let(load(p.ids, pair // p.used * p.ldi + pair % p.used))
        self.multiply(expert, [pair // p.used if self.spec.function else pair], pair, tir.i32(1))

    def token_tile(self) -> None:
        """A tile past the last does nothing; rows past a group's last are read from that one and not written."""
        p, tile = self.p, self.t.y
        expert = let(load(p.tile_expert, tile))
        with when(expert >= 0):
            inside = opaque((tile - load(p.tile_first, expert)) * self.spec.p)
            row, rest = opaque(load(p.first, expert) + inside), opaque(load(p.count, expert) - inside)
            rows = [opaque(row + tir.minimum(tir.i32(i), rest - 1)) for i in range(self.spec.p)]
            self.multiply(expert, [load(p.source, r) for r in rows] if self.spec.function else rows, row, rest)

    def multiply(self, expert: Expr, rows: list[Expr], out: Expr, count: Expr) -> None:
        """rows: of x. out: the first row of y; `count` are written."""
        p, spec = self.p, self.spec
        starts = [let(i64(row) * i64(p.ldx)) for row in rows]
        tile = let(expert * p.tiles + self.t.x)  # of the experts' matrices, which lie one after the other
        for fmt, w, partial in zip(spec.formats, (p.w, p.up), self.partial, strict=False):
            self.sum_parts(fmt, w, tile, starts, partial)
        self.t.sync()
        self.finish(expert, out, count)

    def sum_parts(self, fmt: Format, w: View, tile: Expr, starts: list[Expr], partial: View) -> None:
        """This thread's part of the columns of its row, into shared memory."""
        p, sums = self.p, registers(self.spec.p, tir.f32(0.0))

        def add(column: Expr, weights: list[Expr]) -> None:
            for i, start in enumerate(starts):
                at = let(start + i64(column))
                x = [load(p.x, at)] if len(weights) == 1 else _four(p.x, at)
                for weight, value in zip(weights, x, strict=True):
                    store(sums, i, sums[i] + weight * value)

        units = let(units_of(fmt, p.k))
        with loop(0, let((units + (self.parts - 1)) // self.parts)) as turn:
            unit = let(turn * self.parts + self.part)
            with when(unit < units):
                columns(lane(self.t.device), fmt, w, tile, p.k, unit, self.row, add)
        for i in range(self.spec.p):
            store(partial, (self.part * self.spec.p + i) * ROWS + self.row, sums[i])

    def finish(self, expert: Expr, out: Expr, count: Expr) -> None:
        """Adds the parts in order; a thread for each row and token."""
        p, spec = self.p, self.spec

        def write(n: Expr) -> None:  # n = token in the tile * ROWS + row
            here, r = let(n // ROWS), let(self.t.x * ROWS + n % ROWS)
            totals = []
            for partial, bias in zip(self.partial, (p.bias, p.up_bias), strict=False):
                total = partial[n]
                for other in range(1, self.parts):
                    total = total + partial[other * spec.p * ROWS + n]
                totals.append(let(total + load(bias, expert * p.tiles * ROWS + r) if spec.bias else total))
            value = activated(spec.function, totals[0], totals[1]) if spec.function else totals[0]
            with when(here < count):
                store(p.y, i64(out + here) * i64(p.ldy) + i64(r), value)

        self.t.strided(spec.p * ROWS, write)
