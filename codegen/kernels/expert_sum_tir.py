"""The ExpertSum kernel: 16 columns at a time stay in registers over all slots."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.expert_sum import ExpertSum
from llmc.codegen.tir import f32, i64, let, load, loop, splat, store
from llmc.target import Isa

_STEP = 16  # columns rows are padded to


def generate(spec: ExpertSum, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _sum(spec, isa, p))


def _sum(spec: ExpertSum, isa: Isa, p: SimpleNamespace) -> None:
    total = tir.local(_STEP, "float32")
    lanes = range(0, _STEP, isa.lanes)
    with loop(p.lo, p.hi) as token, loop(0, tir.shifted(p.n + (_STEP - 1), -4)) as step:
        for i in lanes:
            store(total, i, f32(0.0, isa.lanes))
        with loop(0, p.used) as slot:
            one = let(load(p.weights, i64(token) * i64(p.ldw) + i64(slot))) if spec.weighted else f32(1.0)
            weight = splat(one, isa.lanes)
            row = let(i64(load(p.place, i64(token) * i64(p.used) + i64(slot))) * i64(p.ldr) + i64(step * _STEP))
            for i in lanes:
                store(total, i, tir.fma(isa, weight, load(p.rows, row + i64(i), isa.lanes), load(total, i, isa.lanes)))
        for i in lanes:
            store(p.y, i64(token) * i64(p.ldy) + i64(step * _STEP + i), load(total, i, isa.lanes))
