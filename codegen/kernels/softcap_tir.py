"""The softcap kernel."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.softcap import Softcap
from llmc.codegen.tir import i64, let, load, loop, splat, store
from llmc.target import Isa

_STEP = 16  # columns rows are padded to


def generate(spec: Softcap, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _softcap(isa, p))


def _softcap(isa: Isa, p: SimpleNamespace) -> None:
    lanes = isa.lanes
    vectors = let(tir.shifted(p.n + (_STEP - 1), -4) * (_STEP // lanes))
    with loop(p.lo, p.hi) as token, loop(0, vectors) as i:
        at = let(i64(token) * i64(p.ldx) + i64(i * lanes))
        x = load(p.x, at, lanes) / splat(p.cap, lanes)
        store(p.x, at, tir.tanh(isa, x) * splat(p.cap, lanes))
