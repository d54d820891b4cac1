"""Reading the codes of a grid in TIR: a table lookup gives four levels of each row, then signs or a shift alter them.

The table is a constant of the kernel's object, a 32-bit word for four levels; codes of eight weights take two neighbouring words.
"""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from llmc.codegen import tir
from llmc.codegen.tir import Expr, bits, const, either, i32, let, masked, shape, shifted, shifted_right
from llmc.codegen.tir_table import table
from llmc.ir.grid import Grid, Shift, Signs
from llmc.ir.quant import BlockFormat, Format
from llmc.ir.tiles import DOTS
from llmc.target import Isa

if TYPE_CHECKING:
    from llmc.codegen.kernels.unpack import Rows

_EVERY_BYTE = 0x01010101
_SPREAD = 0x00204081  # times a nibble: bit i at bit 8i, among others


def constants(fmt: Format, isa: Isa) -> Any:
    """`with constants(fmt, isa):` goes around the body of a kernel that reads weights of `fmt`."""
    if not isinstance(fmt, BlockFormat) or fmt.grid is None:
        return nullcontext()
    return table(np.ascontiguousarray(fmt.grid.table).view("<i4").reshape(-1).tolist(), isa)


def dot_levels(rows: "Rows", unit: Expr, i: Expr) -> Expr:
    """The levels of dot vector `i` of a unit, both maybe known at run time: i32 lanes with four signed bytes in each."""
    fmt, layout = rows.format, rows.layout
    assert fmt.grid is not None
    levels = _chosen(fmt.grid, rows, unit, i)
    if fmt.signs is None:
        return let(levels)
    assert layout.signs is not None
    weights = 8 if isinstance(fmt.signs, Signs) else fmt.signs.weights
    each = weights // 4  # dot vectors to a code
    code = rows.codes(layout.signs, layout.signs_at, unit * (DOTS // each) + divided(i, each))
    return let(_shifted(levels, code, fmt.signs) if isinstance(fmt.signs, Shift) else _signed(levels, code, fmt.signs, i))


def _chosen(grid: Grid, rows: "Rows", unit: Expr, i: Expr) -> Expr:
    halves = grid.width // 4
    code = rows.codes(rows.layout.codes, rows.layout.codes_at, unit * (DOTS // halves) + divided(i, halves))
    if halves == 1:
        return rows.looked_up(code)
    half = i % 2 if isinstance(i, int) else masked(i, 1)
    return rows.looked_up(shifted(code, 1) + tir.splat(half, rows.lanes))


def _signed(levels: Expr, code: Expr, signs: Signs, i: Expr) -> Expr:
    """Negates the bytes whose sign is set; dot vector `i` takes the lower or the upper four signs of the code."""
    lanes = shape(code)[1]
    code = let(code)
    if signs.bits == 7:
        parity = let(code ^ shifted(code, -4))
        parity = let(parity ^ shifted(parity, -2))
        parity = parity ^ shifted(parity, -1)
        code = let(either(code, shifted(masked(parity, 1), 7)))
    upper = i32(4 * (i % 2)) if isinstance(i, int) else shifted(masked(i, 1), 2)
    nibble = masked(shifted_right(code, upper), 15)
    ones = let(bits(masked(nibble * i32(_SPREAD, lanes), _EVERY_BYTE), "int8"))
    zero = const(0, "int8", 4 * lanes)
    return bits((bits(levels, "int8") ^ (zero - ones)) + ones, "int32")


def _shifted(levels: Expr, code: Expr, shift: Shift) -> Expr:
    """Adds shift.by to every byte of the lanes whose bit is set."""
    lanes = shape(code)[1]
    every = (shift.by & 255) * _EVERY_BYTE
    by = bits(code * i32(every - (every >> 31 << 32), lanes), "int8")
    return bits(bits(levels, "int8") + by, "int32")


def divided(index: Expr, by: int) -> Expr:
    """index // by for an index >= 0 and a power of two."""
    return index // by if isinstance(index, int) else shifted(index, 1 - by.bit_length())
