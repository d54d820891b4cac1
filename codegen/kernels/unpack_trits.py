"""Reading trits in TIR: bytes that hold five base-3 digits each (compiler/ir/quant.py, Trits)."""

from llmc.codegen import tir
from llmc.codegen.tir import Expr, bits, either, masked, shape, shifted
from llmc.ir.tiles import TRITS

_POWERS = sum(3**digit << (8 * digit) for digit in range(TRITS))  # of three, a byte each


def place(dot: Expr) -> tuple[Expr, Expr]:
    """Where dot vector `dot` of a block is: which stored vector, and the power of three that brings its digit to the top."""
    if isinstance(dot, int):
        return dot // TRITS, tir.const(3 ** (dot % TRITS), "uint16")
    stored = tir.let(dot // TRITS)
    digit = tir.i64(dot - stored * TRITS)
    power = tir.masked(tir.shifted_right(tir.const(_POWERS, "int64"), tir.shifted(digit, 3)), 255)
    return stored, tir.let(tir.convert(power, "uint16"))


def digits(stored: Expr, power: Expr) -> Expr:
    """One digit of every byte, in its place. stored: lanes of any type; power u16, a power of three."""
    element = shape(stored)[0]
    words = tir.let(bits(stored, "uint16"))
    factor = tir.splat(power, shape(words)[1])
    low = shifted(masked(masked(words, 255) * factor, 255) * tir.const(3, "uint16", shape(words)[1]), -8)
    high = masked(shifted(words, -8) * factor, 255) * tir.const(3, "uint16", shape(words)[1])
    return bits(either(low, masked(high, 0xFF00)), element)
