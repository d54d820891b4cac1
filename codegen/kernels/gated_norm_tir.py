"""The gated norm kernel."""

from types import SimpleNamespace
from typing import Any

from llmc.codegen import tir
from llmc.codegen.kernels.gated_norm import GatedNorm
from llmc.codegen.kernels.norm_tir import head_squares
from llmc.codegen.tir import Expr, f32, i64, let, load, loop, splat, store
from llmc.target import Isa


def generate(spec: GatedNorm, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _gated_norm(spec, isa, p))


def _gated_norm(spec: GatedNorm, isa: Isa, p: SimpleNamespace) -> None:
    with loop(p.lo, p.hi) as token, loop(0, p.groups) as group:
        start, z = (let(i64(token) * i64(ld) + i64(group) * spec.d) for ld in (p.ldx, p.ldz))
        w = let(i64(group) * i64(p.w_stride))

        def gated(at: Expr, width: int, start: Expr = start, z: Expr = z) -> Expr:
            gate = let(load(p.z, z + i64(at), width))
            return load(p.x, start + i64(at), width) * let(gate * tir.sigmoid(isa, gate))

        def open_gate(at: Expr, width: int, start: Expr = start, gated: Any = gated) -> None:
            store(p.x, start + i64(at), gated(at, width))

        if spec.gate == "before":
            tir.cover(spec.d, isa.lanes, open_gate)
        squares = head_squares(spec.d, isa, p.x, start)
        factor = let(f32(1.0) / tir.sqrt(squares / f32(spec.d) + p.eps))

        def scale(at: Expr, width: int, start: Expr = start, factor: Expr = factor, w: Expr = w, gated: Any = gated) -> None:
            x = gated(at, width) if spec.gate == "after" else load(p.x, start + i64(at), width)
            store(p.x, start + i64(at), x * splat(factor, width) * load(p.w, w + i64(at), width))

        tir.cover(spec.d, isa.lanes, scale)
