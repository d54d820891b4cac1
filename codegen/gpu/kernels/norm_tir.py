"""The work of one thread for the norm kernels."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen import tir
from llmc.codegen.gpu.simt import Thread, device_func, register, rsqrt
from llmc.codegen.tir import Expr, PrimFunc, let, load, store
from llmc.gpu import Device

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.norm import GpuHeadNorm, GpuNorm


def norm(spec: "GpuNorm", device: Device) -> PrimFunc:
    def body(p: SimpleNamespace, t: Thread) -> None:
        row = let(t.x * p.ldx)
        if spec.add:
            _add(p, t, row)
        if not spec.norm:
            return
        n = let(tir.convert(p.n, "float32"))
        mean = let(_sum(p, t, row, lambda v: v) / n) if spec.norm == "layer" else None

        def centred(v: Expr) -> Expr:
            return v if mean is None else v - mean

        factor = let(rsqrt(_sum(p, t, row, lambda v: centred(v) * centred(v)) / n + p.eps))

        def write(i: Expr) -> None:
            value = centred(load(p.x, row + i)) * factor * load(p.w, i)
            store(p.y, t.x * p.ldy + i, value + load(p.b, i) if spec.bias else value)

        t.strided(p.n, write)

    return device_func(spec, device, body)


def _add(p: SimpleNamespace, t: Thread, row: Expr) -> None:
    """Each thread reads back only what it wrote itself, so no barrier is needed after this."""
    t.strided(p.n, lambda i: store(p.x, row + i, load(p.x, row + i) + p.alpha * load(p.o, t.x * p.ldo + i)))


def _sum(p: SimpleNamespace, t: Thread, row: Expr, of: Callable[[Expr], Expr]) -> Expr:
    total = register(tir.f32(0.0))
    t.strided(p.n, lambda i: store(total, 0, total[0] + of(let(load(p.x, row + i)))))
    return t.sum_block(total[0])


def head_norm(spec: "GpuHeadNorm", device: Device) -> PrimFunc:
    layer, d = spec.norm == "layer", spec.d

    def body(p: SimpleNamespace, t: Thread) -> None:
        start = let(t.y * p.ldx + t.x * d)
        first = let(t.x * (-(-d // 16) * 16)) if layer else tir.i32(0)

        def mean(of: Callable[[Expr], Expr]) -> Expr:
            total = register(tir.f32(0.0))
            t.strided(d, lambda i: store(total, 0, total[0] + of(let(load(p.x, start + i)))))
            return let(t.sum_lanes(total[0]) / tir.f32(d))

        middle = mean(lambda x: x) if layer else None

        def centred(x: Expr) -> Expr:
            return x if middle is None else x - middle

        factor = let(rsqrt(mean(lambda x: centred(x) * centred(x)) + p.eps))
        t.strided(d, lambda i: store(p.x, start + i, centred(load(p.x, start + i)) * factor * load(p.w, first + i)))

    return device_func(spec, device, body)
