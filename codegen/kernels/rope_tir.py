"""The rotary kernels, and the rotation itself as the append to the KV cache uses it too: the same arithmetic, the same bits."""

from collections.abc import Callable
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.rope import Rope, RopeTable
from llmc.codegen.tir import Expr, View, i64, let, load, loop, splat, store
from llmc.target import Isa

Read = Callable[[Expr, int], Expr]  # (feature, lanes) -> f32 lanes
Write = Callable[[Expr, Expr], None]  # feature, f32 lanes

# pi/2 in two parts; the first has 33 bits, so that its product with a quadrant number below 2^20 is exact in f64.
_HALF_PI = (1.57079632673412561417, 6.07710050650619224932e-11)
_TWO_OVER_PI = 0.63661977236758134308
# Taylor coefficients of r^3, r^5, ... and of r^2, r^4, ...
_SIN = tuple((-1) ** n / f for n, f in enumerate((6, 120, 5040, 362880, 39916800, 6227020800), start=1))
_COS = tuple((-1) ** n / f for n, f in enumerate((2, 24, 720, 40320, 3628800, 479001600, 87178291200), start=1))


def rope(spec: Rope, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _rope(spec, isa, p))


def _rope(spec: Rope, isa: Isa, p: SimpleNamespace) -> None:
    with loop(p.lo, p.hi) as token, loop(0, p.heads) as head:
        start = let(i64(token) * i64(p.ldx) + i64(head * spec.d))

        def read(at: Expr, lanes: int) -> Expr:
            return load(p.x, start + i64(at), lanes)

        def write(at: Expr, value: Expr) -> None:
            store(p.x, start + i64(at), value)

        rotate(isa, spec.rot, spec.style, p.table, let(i64(token) * spec.rot), read, write)


def rotate(isa: Isa, rot: int, style: str, table: View, row: Expr, read: Read, write: Write) -> None:
    """Turns the first `rot` features of one head; the token's angles start at table[row]."""
    half = rot // 2

    def turn(at: Expr, lanes: int) -> None:
        cos, sin = let(load(table, row + i64(at), lanes)), let(load(table, row + i64(at + half), lanes))
        if style == "half":
            a, b = _turned(isa, let(read(at, lanes)), let(read(at + half, lanes)), cos, sin)
            write(at, a)
            write(at + half, b)
        else:
            pairs = let(read(at * 2, 2 * lanes))
            a, b = _turned(isa, tir.pick(pairs, range(0, 2 * lanes, 2)), tir.pick(pairs, range(1, 2 * lanes, 2)), cos, sin)
            write(at * 2, tir.interleave(a, b))

    tir.cover(half, isa.lanes, turn)


def _turned(isa: Isa, a: Expr, b: Expr, cos: Expr, sin: Expr) -> tuple[Expr, Expr]:
    """(a cos - b sin, a sin + b cos)."""
    a, b = let(a), let(b)
    minus_b = tir.bits(tir.flipped(tir.bits(b, "int32"), -(1 << 31)), "float32")
    return let(tir.fma(isa, minus_b, sin, a * cos)), let(tir.fma(isa, b, cos, a * sin))


def rope_table(spec: RopeTable, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _rope_table(isa, p))


def _rope_table(isa: Isa, p: SimpleNamespace) -> None:
    lanes = isa.lanes // 2  # f64
    with loop(p.lo, p.hi) as token:
        position = let(tir.convert(load(p.positions, token), "float32"))
        row = let(i64(token) * i64(p.half * 2))
        whole = let(p.half // lanes)
        with loop(0, whole) as i:
            _angles(isa, p, position, row, i * lanes, lanes)
        with loop(whole * lanes, p.half) as i:
            _angles(isa, p, position, row, i, 1)


def _angles(isa: Isa, p: SimpleNamespace, position: Expr, row: Expr, at: Expr, lanes: int) -> None:
    """`lanes` columns of one row of the table."""
    angle = let(tir.convert(splat(position, lanes) * load(p.freqs, at, lanes), "float64"))
    cos, sin = cos_sin(isa, angle)
    scale = splat(tir.convert(p.scale, "float64"), lanes)
    store(p.table, row + i64(at), tir.convert(cos * scale, "float32"))
    store(p.table, row + i64(at + p.half), tir.convert(sin * scale, "float32"))


def cos_sin(isa: Isa, angle: Expr) -> tuple[Expr, Expr]:
    """cos and sin of f64 lanes, error below 1e-12 for angles of magnitude up to 2^20.

    angle = n pi/2 + r with |r| <= pi/4; Taylor polynomials of r, swapped and negated by the quadrant n mod 4.
    """
    lanes = tir.shape(angle)[1]

    def number(value: float) -> Expr:
        return tir.const(value, "float64", lanes)

    n = let(tir.rint(angle * number(_TWO_OVER_PI)))
    r = let(tir.fma(isa, n, number(-_HALF_PI[0]), angle))
    r = let(tir.fma(isa, n, number(-_HALF_PI[1]), r))
    r2 = let(r * r)
    sin = let(tir.fma(isa, let(_polynomial(isa, _SIN, r2) * r2), r, r))
    cos = let(tir.fma(isa, _polynomial(isa, _COS, r2), r2, number(1.0)))
    quadrant = let(tir.convert(n, "int32"))
    odd = tir.masked(quadrant, 1) == tir.i32(1, lanes)
    return _signed(tir.select(odd, sin, cos), quadrant + tir.i32(1, lanes)), _signed(tir.select(odd, cos, sin), quadrant)


def _polynomial(isa: Isa, coefficients: tuple[float, ...], x: Expr) -> Expr:
    lanes = tir.shape(x)[1]
    value = tir.const(coefficients[-1], "float64", lanes)
    for c in reversed(coefficients[:-1]):
        value = let(tir.fma(isa, value, x, tir.const(c, "float64", lanes)))
    return value


def _signed(value: Expr, quadrant: Expr) -> Expr:
    """-value in quadrants 2 and 3."""
    value = let(value)
    lanes = tir.shape(value)[1]
    return tir.select(tir.masked(quadrant, 2) == tir.i32(2, lanes), tir.const(0.0, "float64", lanes) - value, value)
