"""Reading packed weights, one row a thread: the words of codegen/kernels/unpack.py with vectors of a single lane."""

from collections.abc import Callable
from dataclasses import dataclass

from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.kernels.unpack import Rows, decode
from llmc.codegen.tir import Expr, View, convert, i32, i64, let, load, loop, masked, shifted
from llmc.ir.quant import BlockFormat, DenseFormat, Format
from llmc.ir.tiles import DOTS, ROWS, UNIT, TileLayout
from llmc.target import Isa

_DENSE_COLUMNS = 8  # of a dense format that count as a unit: a power of two

Use = Callable[[Expr, list[Expr]], None]


def units_of(fmt: Format, k: Expr) -> Expr:
    """Units of columns in a row of k."""
    return (k + (_DENSE_COLUMNS - 1)) // _DENSE_COLUMNS if isinstance(fmt, DenseFormat) else k // UNIT


@dataclass(frozen=True)
class Row(Rows):
    """One row of a tile and block. Blocks start at multiples of 16 bytes, so words and halves are read whole."""

    def _bytes(self, at: Expr) -> Expr:
        return load(tir.view(self.w, "int32"), shifted(at, -2) + i64(self.first))

    def looked_up(self, index: Expr) -> Expr:
        return T.call_pure_extern("int32", f"llmc_grid_{self.format.name}", index)

    def _floats(self, at: int, dtype: str) -> Expr:
        element = tir.dense_element(dtype)
        size = {"uint8": 1, "uint16": 2, "float32": 4}[element]
        first = shifted(self.start + i64(at), 1 - size.bit_length())
        return let(tir.dense_to_f32(self.isa, dtype, load(tir.view(self.w, element), first + i64(self.first))))


def columns(isa: Isa, fmt: Format, w: View, tile: Expr, k: Expr, unit: Expr, row: Expr, use: Use) -> None:
    """use(column, weights) for every run of neighbouring columns of a unit: f32 weights of `row` of a row tile."""
    if isinstance(fmt, DenseFormat):
        _dense(isa, fmt, w, tile, k, unit, row, use)
        return
    layout = TileLayout(fmt)
    block, inside = divided(unit, layout.units)
    start = let((i64(tile) * i64(k // fmt.weights) + i64(block)) * i64(layout.nbytes))
    rows = Row(isa, layout, w, start, row, 1)
    d, dmin = rows.d(), rows.dmin() if fmt.min else None
    groups = max(1, UNIT // fmt.group)
    for g in range(groups):
        group = let(inside * groups + g) if fmt.group <= UNIT else i32(0)
        scale, minimum = rows.scale(d, group), None if dmin is None else rows.minimum(dmin, group)
        for j in range(g * DOTS // groups, (g + 1) * DOTS // groups):
            use(unit * UNIT + 4 * j, four(fmt, rows, inside, j, scale, minimum))


def four(fmt: BlockFormat, rows: Rows, unit: Expr, j: Expr, scale: Expr, minimum: Expr | None) -> list[Expr]:
    """The four weights of dot vector `j` of a unit of the block."""
    dot = let(rows.dot(unit, j))
    if fmt.codebook is None:
        return [decode(fmt, rows.isa, dot, i, scale, minimum) for i in range(4)]
    levels = [convert(_level(fmt.codebook, masked(shifted(dot, -8 * i), 15)), "float32") for i in range(4)]
    return [let(level * scale if minimum is None else level * scale + minimum) for level in levels]


def divided(value: Expr, by: int) -> tuple[Expr, Expr]:
    """Quotient and remainder of a division by a power of two."""
    if by == 1:
        return value, i32(0)
    return let(shifted(value, 1 - by.bit_length())), let(masked(value, by - 1))


def _level(table: tuple[int, ...], index: Expr) -> Expr:
    """table[index] for 16 signed bytes, i32: the table is two constants, a load would be slower."""
    low, high = (int.from_bytes(bytes(v & 255 for v in half), "little", signed=True) for half in (table[:8], table[8:]))
    index = let(index)
    half = tir.select(index < i32(8), T.int64(low), T.int64(high))
    byte = T.shift_right(half, i64(masked(index, 7) * 8))
    return convert(convert(byte, "int8"), "int32")


def _dense(isa: Isa, fmt: DenseFormat, w: View, tile: Expr, k: Expr, unit: Expr, row: Expr, use: Use) -> None:
    stored = tir.view(w, tir.dense_element(fmt.name))
    first = let(unit * _DENSE_COLUMNS)
    with loop(0, let(tir.minimum(k - first, i32(_DENSE_COLUMNS)))) as i:
        at = let(i64(tile * ROWS) * i64(k) + i64((first + i) * ROWS + row))
        use(first + i, [let(tir.dense_to_f32(isa, fmt.name, load(stored, at)))])
