"""Words for writing CPU kernels in TIR: one explicit SIMD instruction, or a few, per function.

A kernel is Python that builds TIR: a Python loop is unrolled, `loop` is a loop. Values are vectors of any number of lanes (1 is a
scalar); what they compute is chosen by the level (`Isa`), so one generator serves all of them.

Rules that keep results equal to the bit between the variants of a kernel:
 - a product that feeds a sum is written with `fma`; on x86-64-v2, which has none, that is a product and a sum. Never `a * b + c`:
   LLVM may contract it in one variant and not in another;
 - memory that is written is read through a view of the same element type only (LLVM assumes that types do not alias);
 - nothing calls libm: `exp` is here, and further functions belong here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, TypeAlias

import tvm
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from llmc.codegen.kernels.base import KernelSpec, exported
from llmc.target import Isa

Expr: TypeAlias = Any  # a TIR expression, scalar or vector; TVM has no useful static types
View: TypeAlias = Any  # a typed view of memory
PrimFunc: TypeAlias = tvm.tirx.PrimFunc

_ELEMENTS = {
    "uint8_t": "uint8", "int8_t": "int8", "uint16_t": "uint16", "int32_t": "int32", "int64_t": "int64", "float": "float32",
}  # fmt: skip
_LN2 = 0.6931471805599453  # written out: no number in an artifact comes from the build machine's libm
_EXP2 = [*accumulate((_LN2 / n for n in range(1, 8)), float.__mul__, initial=1.0)]  # ln2^n / n!
_TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)  # of x^11, ..., x^3
_ENDLESS = 1 << 40  # elements of a view; more than 2^31 makes TVM index with 64 bits


# Functions, memory and control flow ---------------------------------------------------------------------------------


def prim_func(spec: KernelSpec, isa: Isa, body: Callable[[SimpleNamespace], None]) -> PrimFunc:
    """The function of `spec` for one level. `body` receives the parameters by name, pointers as views of their element type."""
    symbol = exported(spec, isa)
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name(symbol)
            T.func_attr({"global_symbol": symbol, "tirx.noalias": True})
            arguments = {}
            for p in spec.params:
                element = _ELEMENTS[p.element]
                arguments[p.name] = T.arg(p.name, T.handle(element) if p.is_pointer else getattr(T, element)())
            for p in spec.params:
                if p.is_pointer:
                    arguments[p.name] = view(arguments[p.name], _ELEMENTS[p.element])
            body(SimpleNamespace(**arguments))
    return builder.get()


def view(memory: Expr, element: str) -> View:
    """Another element type for a pointer, or for the pointer of another view. Indices then count those elements."""
    pointer = memory.data if hasattr(memory, "data") else memory
    return T.decl_buffer((_ENDLESS,), element, data=pointer)


def local(count: int, element: str) -> View:
    """`count` elements on the stack. Where all indices are constants they live in registers."""
    return T.alloc_buffer((count,), element, scope="local")


def loop(start: Expr, stop: Expr) -> Any:
    """`with loop(0, n) as i:` is a real loop, in the kernel."""
    return T.serial(start, stop)


@contextmanager
def maybe_loop(count: int) -> Iterator[Expr]:
    """A loop of `count`, or none where there is only one turn."""
    if count == 1:
        yield 0
        return
    with loop(0, count) as i:
        yield i


def cover(count: int, lanes: int, body: Callable[[Expr, int], None]) -> None:
    """body(start, width) for vectors that cover `count` elements: whole ones in a loop, then narrower ones, widest first."""
    whole, rest = divmod(count, lanes)
    if whole:
        with loop(0, whole) as i:
            body(i * lanes, lanes)
    for start, width in narrower(count - rest, rest, lanes // 2):
        body(start, width)


def narrower(start: int, count: int, lanes: int) -> list[tuple[int, int]]:
    """(start, width) of vectors of `lanes` and fewer that cover `count` elements from `start`, widest first."""
    found = []
    while count:
        if lanes <= count:
            found.append((start, lanes))
            start, count = start + lanes, count - lanes
        else:
            lanes //= 2
    return found


def when(condition: Expr) -> "_Nested":
    """`with when(c):` runs its body where the scalar condition holds."""
    return _Nested(T.If(condition), T.Then())


class _Nested:
    """Two TIR frames entered as one."""

    def __init__(self, *frames: Any) -> None:
        self.frames = frames

    def __enter__(self) -> None:
        for f in self.frames:
            f.__enter__()

    def __exit__(self, *error: Any) -> None:
        for f in reversed(self.frames):
            f.__exit__(*error)


def is_null(memory: View) -> Expr:
    """Whether a pointer parameter is NULL; `either_way(is_null(p), a, b)` does not evaluate the side it does not take."""
    return T.isnullptr(memory.data)


_in_memory: ContextVar[bool] = ContextVar("lets in memory", default=False)


@contextmanager
def lets_in_memory() -> Iterator[None]:
    """Inside, `let` puts scalars into variables in memory, which LLVM turns into registers again.

    TVM's LLVM generator replaces each named value by its definition wherever it simplifies, which doubles with every sum of a
    value and its neighbour's: two minutes for one attention kernel. It does not look into memory.
    """
    token = _in_memory.set(True)
    try:
        yield
    finally:
        _in_memory.reset(token)


def let(value: Expr) -> Expr:
    """A value computed once, here."""
    element, lanes = shape(value) if _in_memory.get() else ("", 0)
    if element not in _VARIABLES or lanes > 1:
        return T.Bind(value)
    cell = local(1, element)
    store(cell, 0, value)
    return cell[0]


_VARIABLES = ("float32", "int32", "int64")


def load(memory: View, at: Expr, lanes: int = 1) -> Expr:
    """`lanes` consecutive elements from index `at`, any alignment."""
    return memory[at] if lanes == 1 else memory[T.ramp(at, 1, lanes)]


def optional(memory: View, at: Expr, lanes: int) -> Expr:
    """As `load` from an f32 parameter that may be NULL: zeros then."""
    return T.if_then_else(T.isnullptr(memory.data), f32(0.0, lanes), load(memory, at, lanes))


def store(memory: View, at: Expr, value: Expr) -> None:
    lanes = shape(value)[1]
    T.buffer_store(memory, value, [at if lanes == 1 else T.ramp(at, 1, lanes)])


CACHE_LINE = 64  # bytes


def prefetch(memory: View, at: Expr, *, level: int = 2, write: bool = False) -> None:
    """Asks for the cache line of element `at` in the cache of `level`, or for writing in the first."""
    kind = (T.int32(1), T.int32(3)) if write else (T.int32(0), T.int32(4 - level))
    T.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", T.address_of(memory[at]), *kind, T.int32(1)))


# Matrix tiles (AMX) --------------------------------------------------------------------------------------------------


def aligned(vectors: int) -> View:
    """i32 view of `vectors` times 64 bytes on the stack, at a multiple of 64."""
    return view(T.alloc_buffer((vectors,), "int32x16", scope="local"), "int32")


def configure_tiles(shapes: Sequence[tuple[int, int]]) -> None:
    """Gives tiles 0, 1, ... their (rows, bytes per row) and clears them. `release_tiles` ends their use."""
    config = bytearray(64)
    config[0] = 1  # palette
    for i, (rows, row_bytes) in enumerate(shapes):
        config[16 + 2 * i] = row_bytes
        config[48 + i] = rows
    words = aligned(1)
    store(words, 0, _lanes_of([int.from_bytes(config[i : i + 4], "little") for i in range(0, 64, 4)]))
    _tiles("ldtilecfg", T.address_of(words[0]))


def release_tiles() -> None:
    """Back to the state in which a process that knows no tiles runs."""
    _tiles("tilerelease")


def load_tile(tile: int, memory: View, at: Expr, stride: int) -> None:
    """Reads the rows of a tile from element `at`, `stride` bytes apart."""
    _tiles("tileloadd64", T.int8(tile), T.address_of(memory[at]), T.int64(stride))


def store_tile(tile: int, memory: View, at: Expr, stride: int) -> None:
    """Writes the rows of a tile to element `at`, `stride` bytes apart."""
    _tiles("tilestored64", T.int8(tile), T.address_of(memory[at]), T.int64(stride))


def clear_tile(tile: int) -> None:
    _tiles("tilezero", T.int8(tile))


def dot_tiles(total: int, a: int, b: int, *, signed: bool) -> None:
    """total i32[m][n] += sum over j and i of a[m][4j + i] * b[j][4n + i]: a signed bytes, b signed or unsigned ones."""
    _tiles("tdpbssd" if signed else "tdpbsud", T.int8(total), T.int8(a), T.int8(b))


def _tiles(name: str, *arguments: Expr) -> None:
    T.evaluate(T.call_llvm_intrin("void", f"llvm.x86.{name}", *arguments))


# Vectors -------------------------------------------------------------------------------------------------------------


def shape(value: Expr) -> tuple[str, int]:
    """("float32", 16) of a float32x16; a scalar has 1 lane."""
    name = str(value.ty)
    element, x, lanes = name.rpartition("x")
    return (element, int(lanes)) if x and lanes.isdigit() else (name, 1)


def vector(element: str, lanes: int) -> str:
    return element if lanes == 1 else f"{element}x{lanes}"


def splat(value: Expr, lanes: int) -> Expr:
    """A scalar in every lane."""
    return value if lanes == 1 else T.broadcast(value, lanes)


def counting(start: Expr, lanes: int) -> Expr:
    """start, start + 1, ... in i32 lanes. Compare it where it is used: TVM cannot name a vector of bools."""
    return start if lanes == 1 else T.ramp(start, 1, lanes)


def const(number: float, element: str, lanes: int = 1) -> Expr:
    return splat(getattr(T, element)(number), lanes)


def f32(number: float, lanes: int = 1) -> Expr:
    return const(number, "float32", lanes)


def i32(number: int, lanes: int = 1) -> Expr:
    return const(number, "int32", lanes)


def i64(value: Expr) -> Expr:
    """A 64-bit index from an int or an expression; offsets into weights and caches are computed in 64 bits."""
    return T.int64(value) if isinstance(value, int) else T.cast(value, "int64")


def convert(value: Expr, element: str) -> Expr:
    """Lane by lane: widens, narrows, int <-> float (towards zero)."""
    return T.cast(value, vector(element, shape(value)[1]))


def bits(value: Expr, element: str) -> Expr:
    """The same bits as lanes of another element type; the number of lanes follows."""
    old, lanes = shape(value)
    total = lanes * _width(old)
    assert total % _width(element) == 0
    return T.reinterpret(vector(element, total // _width(element)), value)


def _width(element: str) -> int:
    return int(element.lstrip("abcdefghijklmnopqrstuvwxyz"))


def pick(value: Expr, lanes: Sequence[int]) -> Expr:
    """The named lanes of a vector, in that order."""
    return T.Shuffle([value], [T.int32(i) for i in lanes])


def interleave(a: Expr, b: Expr) -> Expr:
    """a0 b0 a1 b1 ..."""
    lanes = shape(a)[1]
    order = [i + side for i in range(lanes) for side in (0, lanes)]
    return T.Shuffle([a, b], [T.int32(i) for i in order])


def select(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Lane by lane; both sides are evaluated."""
    return T.Select(condition, yes, no)


def either_way(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """One of two vectors by a scalar condition; only that one is evaluated, so the other may be a load that must not happen."""
    return T.if_then_else(condition, yes, no)


def masked(value: Expr, mask: int) -> Expr:
    """Bitwise and with a constant."""
    element, lanes = shape(value)
    return T.bitwise_and(value, const(mask, element, lanes))


def shifted(value: Expr, by: int) -> Expr:
    """value << by for by > 0, value >> -by otherwise (arithmetic for signed elements)."""
    element, lanes = shape(value)
    if by == 0:
        return value
    amount = const(abs(by), element, lanes)
    return T.shift_left(value, amount) if by > 0 else T.shift_right(value, amount)


def field_moved(isa: Isa, value: Expr, by: int, mask: int) -> Expr:
    """shifted(value, by) & mask in each byte: u8 lanes. One instruction where the level has GFNI, of which shifting bytes is one
    already, so that the mask is free."""
    element, lanes = shape(value)
    assert element == "uint8", element
    if by == 0 or "gfni" not in isa.flags or lanes not in (16, 32, 64):
        return masked(shifted(value, by), mask)
    rows = [1 << (i - by) if mask >> i & 1 and 0 <= i - by < 8 else 0 for i in range(8)]  # what bit i of a byte becomes
    matrix = bits(splat(const(int.from_bytes(bytes(rows[::-1]), "little"), "uint64"), lanes // 8), "uint8")
    name = f"llvm.x86.vgf2p8affineqb.{8 * lanes}"
    return _intrinsic(str(value.ty), name, value, matrix, T.int8(0))


def shifted_right(value: Expr, by: Expr) -> Expr:
    """value >> by for a scalar `by` known at run time, the same in all lanes."""
    return T.shift_right(value, splat(by, shape(value)[1]))


def either(a: Expr, b: Expr) -> Expr:
    return T.bitwise_or(a, b)


def flipped(value: Expr, mask: int) -> Expr:
    """Exclusive or with a constant."""
    element, lanes = shape(value)
    return T.bitwise_xor(value, const(mask, element, lanes))


def _intrinsic(result: str, name: str, *arguments: Expr) -> Expr:
    return T.call_llvm_pure_intrin(result, name, *arguments)


# Arithmetic ----------------------------------------------------------------------------------------------------------


def fma(isa: Isa, a: Expr, b: Expr, c: Expr) -> Expr:
    """a * b + c, floats; rounded once where the level has FMA, twice on x86-64-v2."""
    if not isa.fma:
        return a * b + c
    return _intrinsic(str(a.ty), "llvm.fma", a, b, c)


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger one; `b` where either is NaN, as maxps does. A select would make TVM's simplifier follow both sides."""
    return T.max(a, b)


def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller one; `b` where either is NaN, as minps does. A select would make TVM's simplifier follow both sides."""
    return T.min(a, b)


def absolute(value: Expr) -> Expr:
    """|x| of f32 lanes."""
    return bits(masked(bits(value, "int32"), 0x7FFFFFFF), "float32")


def sqrt(value: Expr) -> Expr:
    """Correctly rounded."""
    return _intrinsic(str(value.ty), "llvm.sqrt", value)


def rint(value: Expr) -> Expr:
    """To the nearest whole number, ties to even."""
    return _intrinsic(str(value.ty), "llvm.rint", value)


def _halves(value: Expr) -> tuple[Expr, Expr]:
    lanes = shape(value)[1]
    return pick(value, range(lanes // 2)), pick(value, range(lanes // 2, lanes))


def reduce_add(value: Expr) -> Expr:
    """Sum of the lanes, upper half onto lower half until one is left. A power of two of lanes."""
    element, lanes = shape(value)
    if element == "int32" and lanes > 1:
        return _intrinsic("int32", "llvm.vector.reduce.add", value)
    while shape(value)[1] > 1:
        low, high = _halves(let(value))
        value = low + high
    return value


def reduce_max(value: Expr) -> Expr:
    """Largest lane; no lane may be NaN. A power of two of lanes."""
    while shape(value)[1] > 1:
        value = maximum(*_halves(let(value)))
    return value


def largest_magnitude(values: Sequence[Expr]) -> Expr:
    """max |x| over all f32 lanes of all vectors, a scalar; no lane may be NaN. Magnitudes compare as their bits do."""
    word = [masked(bits(v, "int32"), 0x7FFFFFFF) for v in values]
    largest = word[0]
    for w in word[1:]:
        largest = let(_intrinsic(str(w.ty), "llvm.smax", largest, w))
    return bits(_intrinsic("int32", "llvm.vector.reduce.smax", largest), "float32")


def exp(isa: Isa, x: Expr) -> Expr:
    """e^x of f32 lanes, relative error below 1.2e-7 for -87 <= x <= 88; x is clamped to that range.

    x = n ln2 + f with |f| <= ln2 / 2, where ln2 is split in two so that n times its first part is exact; a polynomial for e^f.
    """
    lanes = shape(x)[1]
    x = let(minimum(maximum(x, f32(-87.0, lanes)), f32(88.0, lanes)))
    n = let(rint(x * f32(1.44269504088896341, lanes)))
    f = let(fma(isa, n, f32(-0.693359375, lanes), x))
    f = let(fma(isa, n, f32(2.12194440e-4, lanes), f))
    p = f32(1.9875691500e-4, lanes)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = let(fma(isa, p, f, f32(c, lanes)))
    p = let(fma(isa, p, f * f, f)) + f32(1.0, lanes)
    return p * bits(shifted(convert(n, "int32") + i32(127, lanes), 23), "float32")


def tanh(isa: Isa, x: Expr) -> Expr:
    """Hyperbolic tangent of f32 lanes, relative error below 4e-7.

    A polynomial below 0.625, as Cephes has it, and (1 - e) / (1 + e) with e = exp(-2|x|) above.
    """
    lanes = shape(x)[1]
    x = let(x)
    size = let(absolute(x))
    e = let(exp(isa, f32(-2.0, lanes) * size))
    large = bits((f32(1.0, lanes) - e) / (f32(1.0, lanes) + e), "int32")
    sign = masked(bits(x, "int32"), -(1 << 31))
    square = let(x * x)
    p = f32(_TANH[0], lanes)
    for c in _TANH[1:]:
        p = let(fma(isa, p, square, f32(c, lanes)))
    small = fma(isa, p * square, x, x)
    return select(size < f32(0.625, lanes), small, bits(either(large, sign), "float32"))


def exp2(isa: Isa, x: Expr) -> Expr:
    """2^x of f32 lanes for x <= 0, relative error below 1.2e-7; exactly 1 at 0. Below -126 the result stays at 2^-126.

    x = n + f with |f| <= 1/2, both exact; the Taylor polynomial of 2^f up to f^7, whose first term left out is below 6e-9.
    """
    lanes = shape(x)[1]
    x = let(x)
    x = let(maximum(x, f32(-126.0, lanes)))
    n = let(rint(x))
    f = let(x - n)
    p = f32(_EXP2[-1], lanes)
    for c in reversed(_EXP2[:-1]):
        p = let(fma(isa, p, f, f32(c, lanes)))
    return p * bits(shifted(convert(n, "int32") + i32(127, lanes), 23), "float32")


def sigmoid(isa: Isa, x: Expr) -> Expr:
    """1 / (1 + e^-x) of f32 lanes."""
    lanes = shape(x)[1]
    return f32(1.0, lanes) / (f32(1.0, lanes) + let(exp(isa, f32(0.0, lanes) - x)))


def softplus(isa: Isa, x: Expr) -> Expr:
    """ln(1 + e^x) of f32 lanes, relative error below 5e-7 for x >= -87.

    max(x, 0) + ln(1 + u) with u = e^-|x|, and ln(1 + u) = 2 artanh(s) with s = u / (2 + u) <= 1/3: its series up to s^15.
    """
    lanes = shape(x)[1]
    x = let(x)
    u = let(exp(isa, f32(0.0, lanes) - absolute(x)))
    s = let(u / (u + f32(2.0, lanes)))
    square = let(s * s)
    p = f32(2 / 15, lanes)
    for n in range(13, 0, -2):
        p = let(fma(isa, p, square, f32(2 / n, lanes)))
    return fma(isa, p, s, maximum(x, f32(0.0, lanes)))


# Half precision: stored as uint16 ------------------------------------------------------------------------------------


def has_f16(isa: Isa) -> bool:
    """Whether the level converts f16 in hardware."""
    return "f16c" in isa.flags


def f16_to_f32(isa: Isa, half: Expr) -> Expr:
    """u16 lanes holding IEEE f16 -> f32, exact, infinities and NaN included."""
    lanes = shape(half)[1]
    if has_f16(isa):
        return T.cast(T.reinterpret(vector("float16", lanes), half), vector("float32", lanes))
    word = let(convert(half, "int32"))
    magnitude = let(shifted(masked(word, 0x7FFF), 13))
    value = bits(bits(magnitude, "float32") * f32(2.0**112, lanes), "int32")  # moves the exponent bias from 15 to 127
    value = T.Select(magnitude >= i32(0x7C00 << 13, lanes), either(magnitude, i32(0x7F800000, lanes)), value)
    return bits(either(value, shifted(masked(word, 0x8000), 16)), "float32")


def f32_to_f16(isa: Isa, value: Expr) -> Expr:
    """f32 lanes -> u16 lanes holding IEEE f16, nearest, ties to even; overflow becomes infinity."""
    lanes = shape(value)[1]
    if has_f16(isa):
        return T.reinterpret(vector("uint16", lanes), T.cast(value, vector("float16", lanes)))
    word = let(bits(value, "int32"))
    magnitude = let(masked(word, 0x7FFFFFFF))
    tiny = bits(bits(magnitude, "float32") + f32(0.5, lanes), "int32") - i32(0x3F000000, lanes)  # the sum rounds to 2^-24
    odd = masked(shifted(magnitude, -13), 1)
    normal = shifted(magnitude + odd + i32(0xFFF - (112 << 23), lanes), -13)
    huge = T.Select(magnitude > i32(0x7F800000, lanes), i32(0x7E00, lanes), i32(0x7C00, lanes))
    half = T.Select(magnitude < i32(0x38800000, lanes), tiny, normal)
    half = T.Select(magnitude >= i32(0x47800000, lanes), huge, half)
    return convert(either(half, masked(shifted(word, -16), 0x8000)), "uint16")


def bf16_to_f32(half: Expr) -> Expr:
    """u16 lanes holding bfloat16 -> f32, exact."""
    return bits(shifted(convert(half, "int32"), 16), "float32")


def e4m3_to_f32(isa: Isa, stored: Expr) -> Expr:
    """u8 lanes -> f32, exact: as f16 the bits are 2^-8 of the number. 0x7F and 0xFF are NaN."""
    lanes = shape(stored)[1]
    word = let(convert(stored, "int32"))
    magnitude = let(masked(word, 0x7F))
    shown = select(magnitude == i32(0x7F, lanes), i32(0x7E00, lanes), shifted(magnitude, 7))
    half = let(convert(either(shown, shifted(masked(word, 0x80), 8)), "uint16"))
    return f16_to_f32(isa, half) * f32(256.0, lanes)


def dense_element(name: str) -> str:
    """The type in which a dense format is loaded."""
    return {"f32": "float32", "e4m3": "uint8"}.get(name, "uint16")


def dense_to_f32(isa: Isa, name: str, stored: Expr) -> Expr:
    """Elements of the dense format `name`, lanes of dense_element(name), as f32."""
    if name == "f32":
        return stored
    if name == "e4m3":
        return e4m3_to_f32(isa, stored)
    return f16_to_f32(isa, stored) if name == "f16" else bf16_to_f32(stored)


# Dot products of bytes -----------------------------------------------------------------------------------------------


def dot_u8s8(
    isa: Isa, acc: Expr, us: Sequence[Expr], ss: Sequence[Expr], largest: int, times: Expr | None = None
) -> Expr:
    """acc[i] + the sum over all pairs (u, s) of u[4i..4i+3] . s[4i..4i+3].  acc i32xL; us u8x4L; ss i8x4L; exact.

    `largest` bounds the codes in `us`. Without VNNI pairs are summed in 16 bits, so it must be at most 127 there, and |s| <= 127;
    small codes let several products share one widening to 32 bits, which multiplies by `times` at no cost: `twice` of i32xL.
    """
    lanes = shape(acc)[1]
    if isa.dot == "vnni":
        assert times is None
        for u, s in zip(us, ss, strict=True):
            acc = let(_intrinsic(f"int32x{lanes}", f"llvm.x86.avx512.vpdpbusd.{32 * lanes}", acc, u, s))
        return acc
    assert largest <= 127, "codes above 127 saturate 16 bits: use dot_s8s8"
    together = max(1, 0x7FFF // (2 * 127 * largest))
    pairs = [_multiply_pairs(u, s) for u, s in zip(us, ss, strict=True)]
    for first in range(0, len(pairs), together):
        acc = let(acc + _add_neighbours(sum(pairs[first + 1 : first + together], pairs[first]), times))
    return acc


def dot_s8s8(isa: Isa, acc: Expr, ws: Sequence[Expr], ss: Sequence[Expr], times: Expr | None = None) -> Expr:
    """As `dot_u8s8` for signed codes i8x4L in -128..127 and ss in -127..127, exact: |w| times s with the sign of w.

    For the levels without VNNI; with it, signed codes are made unsigned by an offset of 128, which is cheaper.
    """
    for w, s in zip(ws, ss, strict=True):
        size = bits_of(w)
        name = "llvm.x86.avx2.psign.b" if size == 256 else "llvm.x86.ssse3.psign.b.128"
        signed = _intrinsic(str(s.ty), name, s, w)
        magnitude = bits(_intrinsic(str(w.ty), "llvm.abs", w, T.bool(False)), "uint8")
        acc = let(acc + _add_neighbours(_multiply_pairs(magnitude, signed), times))
    return acc


def dot_pairs(isa: Isa, acc: Expr, a: Expr, b: Expr) -> Expr:
    """acc[i] + a[2i] b[2i] + a[2i+1] b[2i+1].  acc i32xL; a, b i16x2L; exact where that fits 32 bits."""
    lanes = shape(acc)[1]
    if isa.dot == "vnni":
        return let(_intrinsic(f"int32x{lanes}", f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", acc, a, b))
    return let(acc + _add_neighbours(a, b))


def pair(first: Expr, second: Expr) -> Expr:
    """i32 lanes of numbers that fit 16 bits -> i32 lanes that hold both, `first` low: two i16 lanes each, as `bits` sees them."""
    return either(masked(first, 0xFFFF), shifted(second, 16))


def twice(value: Expr) -> Expr:
    """i32xL of numbers that fit 16 bits -> i16x2L with each in two lanes."""
    return let(bits(pair(value, value), "int16"))


def bits_of(value: Expr) -> int:
    """Width of a vector in bits."""
    element, lanes = shape(value)
    return lanes * _width(element)


def _multiply_pairs(u: Expr, s: Expr) -> Expr:
    """u8x2n, i8x2n -> i16xn: u[2i] s[2i] + u[2i+1] s[2i+1], saturating."""
    name = "llvm.x86.avx2.pmadd.ub.sw" if bits_of(u) == 256 else "llvm.x86.ssse3.pmadd.ub.sw.128"
    return _intrinsic(f"int16x{shape(u)[1] // 2}", name, u, s)


def _add_neighbours(pairs: Expr, times: Expr | None = None) -> Expr:
    """i16x2n -> i32xn: the sums of neighbours, of their products with `times` i16x2n where that is given."""
    lanes = shape(pairs)[1]
    name = "llvm.x86.avx2.pmadd.wd" if lanes == 16 else "llvm.x86.sse2.pmadd.wd"
    return _intrinsic(f"int32x{lanes // 2}", name, pairs, const(1, "int16", lanes) if times is None else times)


def lookup16(table: Sequence[int], index: Expr) -> Expr:
    """table[index] for index lanes u8 in 0..15 and a table of 16 bytes (u8): one byte shuffle in each 128-bit lane."""
    count = shape(index)[1]
    assert len(table) == 16
    words = [int.from_bytes(bytes(table[i : i + 4]), "little", signed=True) for i in range(0, 16, 4)]
    entries = bits(_lanes_of(words * (count // 16)), "uint8")
    name = {16: "llvm.x86.ssse3.pshuf.b.128", 32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}[count]
    return _intrinsic(f"uint8x{count}", name, entries, index)


def _lanes_of(numbers: Sequence[int]) -> Expr:
    """A constant i32 vector with a number per lane."""
    return T.Shuffle([i32(n) for n in numbers], [T.int32(i) for i in range(len(numbers))])
