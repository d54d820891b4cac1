"""The convolution kernel: 16 columns at a time, the inputs that the next token needs in registers."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.causal_conv import CausalConv
from llmc.codegen.tir import Expr, View, f32, i64, let, load, loop, store
from llmc.target import Isa

_BLOCK = 16  # columns


def generate(spec: CausalConv, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _conv(spec, isa, p))


def _conv(spec: CausalConv, isa: Isa, p: SimpleNamespace) -> None:
    past = tir.local((spec.taps - 1) * _BLOCK, "float32")
    with loop(p.block_lo, p.block_hi) as block:
        first = let(i64(block) * _BLOCK)
        for at in range(0, (spec.taps - 1) * _BLOCK, isa.lanes):
            store(past, at, load(p.state, _row(p, at // _BLOCK, first) + at % _BLOCK, isa.lanes))
        with loop(p.lo, p.hi) as token:
            for column in range(0, _BLOCK, isa.lanes):
                _token(spec, isa, p, past, token, first, column)
        for at in range(0, (spec.taps - 1) * _BLOCK, isa.lanes):
            store(p.state, _row(p, at // _BLOCK, first) + at % _BLOCK, load(past, at, isa.lanes))


def _row(p: SimpleNamespace, row: Expr, first: Expr) -> Expr:
    return i64(row) * i64(p.ld) + first


def _token(spec: CausalConv, isa: Isa, p: SimpleNamespace, past: View, token: Expr, first: Expr, column: int) -> None:
    """One vector of columns of one token; `past` moves on."""
    lanes = isa.lanes
    at = let(_row(p, token, first) + column)
    x = load(p.x, at, lanes)
    x = let(load(p.before, at, lanes) * x if spec.gated else x)
    inputs = [*(let(load(past, j * _BLOCK + column, lanes)) for j in range(spec.taps - 1)), x]
    y = tir.optional(p.b, first + column, lanes)
    for j, value in enumerate(inputs):
        y = let(tir.fma(isa, value, load(p.w, _row(p, j, first) + column, lanes), y))
    for j, value in enumerate(inputs[1:]):
        store(past, j * _BLOCK + column, value)
    if spec.function == "silu":
        y = y / (f32(1.0, lanes) + let(tir.exp(isa, f32(0.0, lanes) - y)))
    store(p.y, at, load(p.after, at, lanes) * y if spec.gated else y)
