"""The activation kernel: one pass over gate and up."""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.activation import LIMIT, SLOPE, Activation
from llmc.codegen.kernels.activations import COLUMNS
from llmc.codegen.kernels.quantize import QuantisedRow
from llmc.codegen.tir import Expr, View, f32, i64, let, load, loop, splat, store
from llmc.target import Isa

_ROOT = 0.7978845608028654  # sqrt(2/pi)
_HALF_ROOT = 0.7071067811865476  # sqrt(1/2)
_ERFC = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)  # of t^5, ..., t; times e^(-z^2)
_NEAR = 0.5
_EXPM1 = (1 / 40320, 1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0)  # of x^7, ..., 1: (e^x - 1) / x
_STEP = 16  # columns rows are padded to


def generate(spec: Activation, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _activation(spec, isa, p))


def _activation(spec: Activation, isa: Isa, p: SimpleNamespace) -> None:
    with loop(p.lo, p.hi) as token:
        with tir.when(token < p.n_tokens):
            if spec.q8:
                row = QuantisedRow(isa, p, token, spec.q8)
                row.write(lambda column: _columns(spec, isa, p, token, column, COLUMNS))
            else:
                with loop(0, tir.shifted(p.n + (_STEP - 1), -4)) as step:
                    _columns(spec, isa, p, token, step * _STEP, _STEP)
        if spec.q8:
            with tir.when(token >= p.n_tokens):
                QuantisedRow(isa, p, token, spec.q8).zeros()


def _columns(spec: Activation, isa: Isa, p: SimpleNamespace, token: Expr, first: Expr, count: int) -> list[Expr]:
    """Columns [first, first + count) as vectors, stored to y where that is wanted."""
    values = []
    for column in range(0, count, isa.lanes):
        at = i64(first + column)
        gate = let(load(p.gate, i64(token) * i64(p.ldg) + at, isa.lanes))
        up = load(p.up, i64(token) * i64(p.ldu) + at, isa.lanes) if spec.gated else None
        if spec.function == "clamped_silu":
            gate, up = _clamped(isa, gate, up)
        value = _xielu(isa, gate, p.up) if spec.function == "xielu" else _FUNCTIONS[spec.function](isa, gate)
        values.append(let(value if up is None else value * up))
        if spec.f32:
            store(p.y, i64(token) * i64(p.ldy) + at, values[-1])
    return values


def _silu(isa: Isa, x: Expr) -> Expr:
    lanes = isa.lanes
    return x / (f32(1.0, lanes) + let(tir.exp(isa, f32(0.0, lanes) - x)))


def _clamped(isa: Isa, gate: Expr, up: Expr) -> tuple[Expr, Expr]:
    """(gate, what it is multiplied by): min(gate, 7), clamp(up) + 1."""
    high, low, one = (f32(x, isa.lanes) for x in (LIMIT, -LIMIT, 1.0))
    return let(tir.minimum(high, gate)), let(tir.maximum(low, tir.minimum(high, let(up))) + one)


def _clamped_silu(isa: Isa, x: Expr) -> Expr:
    lanes = isa.lanes
    return x / (f32(1.0, lanes) + let(tir.exp(isa, x * f32(-SLOPE, lanes))))


def _gelu(isa: Isa, x: Expr) -> Expr:
    """1/2 (1 + tanh(u)) = 1 / (1 + e^-2u)."""
    lanes = isa.lanes
    slope = let(tir.fma(isa, x * x, f32(-2 * _ROOT * 0.044715, lanes), f32(-2 * _ROOT, lanes)))
    return x / (f32(1.0, lanes) + let(tir.exp(isa, x * slope)))


def _gelu_erf(isa: Isa, x: Expr) -> Expr:
    """x times the share of a normal distribution below x. Error below 1e-7 |x|: Abramowitz and Stegun, 7.1.26, of erfc(z)."""
    lanes = isa.lanes
    z = let(tir.absolute(x) * f32(_HALF_ROOT, lanes))
    t = let(f32(1.0, lanes) / tir.fma(isa, z, f32(0.3275911, lanes), f32(1.0, lanes)))
    p = f32(_ERFC[0], lanes)
    for c in _ERFC[1:]:
        p = let(tir.fma(isa, p, t, f32(c, lanes)))
    tail = let(p * t * f32(0.5, lanes) * let(tir.exp(isa, f32(0.0, lanes) - z * z)))
    return tir.select(x < f32(0.0, lanes), x * tail, tir.fma(isa, f32(0.0, lanes) - x, tail, x))


def _relu(isa: Isa, x: Expr) -> Expr:
    return tir.maximum(x, f32(0.0, isa.lanes))


def _relu2(isa: Isa, x: Expr) -> Expr:
    positive = let(tir.maximum(x, f32(0.0, isa.lanes)))
    return positive * positive


def _xielu(isa: Isa, x: Expr, parameters: View) -> Expr:
    """Far below zero e^x - 1 - x loses nothing; near it, where e^x - 1 would, the first terms of its series take its place."""
    lanes = isa.lanes
    p, n, b, eps = (splat(load(parameters, i), lanes) for i in range(4))
    low = let(tir.minimum(x, eps))
    series = f32(_EXPM1[0], lanes)
    for c in _EXPM1[1:]:
        series = let(tir.fma(isa, series, low, f32(c, lanes)))
    near = low > f32(-_NEAR, lanes)
    expm1 = let(tir.select(near, series * low, let(tir.exp(isa, low)) - f32(1.0, lanes)))
    below = let((expm1 - x) * n)
    return tir.fma(isa, b, x, let(tir.select(x < f32(0.0, lanes), below, p * x * x)))


_FUNCTIONS = {
    "silu": _silu, "gelu": _gelu, "gelu_erf": _gelu_erf, "clamped_silu": _clamped_silu, "relu2": _relu2, "sigmoid": tir.sigmoid,
    "relu": _relu,
}  # fmt: skip
