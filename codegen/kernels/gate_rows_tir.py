"""The GateRows kernel."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.gate_rows import GateRows
from llmc.codegen.tir import f32, i64, let, load, loop, splat, store
from llmc.target import Isa

_STEP = 16  # columns rows are padded to


def generate(spec: GateRows, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _gate(isa, p))


def _gate(isa: Isa, p: SimpleNamespace) -> None:
    lanes = isa.lanes
    vectors = let(tir.shifted(p.n + (_STEP - 1), -4) * (_STEP // lanes))
    with loop(p.lo, p.hi) as token:
        logit = let(load(p.logits, i64(token) * i64(p.ldl)))
        factor = let(f32(1.0) / (f32(1.0) + let(tir.exp(isa, f32(0.0) - logit))))
        with loop(0, vectors) as i:
            at = let(i64(token) * i64(p.ldx) + i64(i * lanes))
            store(p.x, at, load(p.x, at, lanes) * splat(factor, lanes))
