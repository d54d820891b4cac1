"""The work of one thread for a linear: one row of a tile, every so many units of columns, some tokens."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen import tir
from llmc.codegen.gpu.kernels.weights import columns, units_of
from llmc.codegen.gpu.simt import Thread, device_func, lane, registers, shared
from llmc.codegen.tir import Expr, PrimFunc, let, load, loop, store, when
from llmc.gpu import Device
from llmc.ir.tiles import ROWS

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.linear import GpuLinear


def generate(spec: "GpuLinear", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        parts = t.threads // ROWS
        row, part = let(t.index % ROWS), let(t.index // ROWS)
        sums = registers(spec.p, tir.f32(0.0))
        token = let(t.y * spec.p)

        def add(column: Expr, weights: list[Expr]) -> None:
            for i in range(spec.p):
                at = let((token + i) * p.ldx + column)
                x = [load(p.x, at)] if len(weights) == 1 else _four(p.x, at)
                for weight, value in zip(weights, x, strict=True):
                    store(sums, i, sums[i] + weight * value)

        units = let(units_of(spec.format, p.k))
        with loop(0, let((units + (parts - 1)) // parts)) as turn:
            unit = let(turn * parts + part)
            with when(unit < units):
                columns(lane(device), spec.format, p.w, t.x, p.k, unit, row, add)
        _finish(spec, p, t, sums, row, part, token)

    return device_func(spec, device, body)


def _four(x: tir.View, at: Expr) -> list[Expr]:
    """Four neighbours in one load; `at` is a multiple of four, as rows are padded to 16 columns."""
    loaded = let(load(tir.view(x, "float32x4"), tir.shifted(at, -2)))
    return [tir.pick(loaded, [n]) for n in range(4)]


def _finish(spec: "GpuLinear", p: SimpleNamespace, t: Thread, sums: tir.View, row: Expr, part: Expr, token: Expr) -> None:
    """Adds the parts in order; a thread for each row and token."""
    parts = t.threads // ROWS
    partial = shared(parts * spec.p * ROWS, "float32")
    for i in range(spec.p):
        store(partial, (part * spec.p + i) * ROWS + row, sums[i])
    t.sync()

    def write(n: Expr) -> None:  # n = token in the tile * ROWS + row
        here, r = let(token + n // ROWS), let(t.x * ROWS + n % ROWS)
        total = partial[n]
        for other in range(1, parts):
            total = total + partial[other * spec.p * ROWS + n]
        if spec.bias:
            total = total + load(p.bias, r)
        with when(here < p.n_tokens):
            store(p.y, tir.i64(here) * tir.i64(p.ldy) + tir.i64(r), total * p.scale)

    t.strided(spec.p * ROWS, write)
