"""Reading packed tiles in TIR: headers to floats, codes to byte vectors. The layout is in compiler/ir/tiles.py."""

from dataclasses import dataclass

from llmc.codegen.tir import (
    Expr,
    View,
    bits,
    const,
    convert,
    either,
    f16_to_f32,
    flipped,
    fma,
    i32,
    i64,
    let,
    load,
    lookup16,
    masked,
    shape,
    shifted,
    shifted_right,
)
from llmc.ir.quant import BlockFormat, IntCodes
from llmc.ir.tiles import DOT_BYTES, DOTS, ROWS, Plane, Planes, TileLayout
from llmc.target import Isa


@dataclass(frozen=True)
class Rows:
    """`lanes` rows of one (row tile, block), from row `first`; the block starts at byte `start` of `w`."""

    isa: Isa
    layout: TileLayout
    w: View  # u8
    start: Expr  # i64
    first: Expr  # i32
    lanes: int

    @property
    def format(self) -> BlockFormat:
        return self.layout.format

    def d(self) -> Expr:
        """f32 lanes."""
        return self._halves(0)

    def dmin(self) -> Expr:
        """f32 lanes, with the sign of the format's min."""
        kind = self.format.min
        assert kind is not None
        value = self._halves(self.layout.dmin_at)
        return value if kind.sign > 0 else let(const(0.0, "float32", self.lanes) - value)

    def scale(self, d: Expr, group: Expr) -> Expr:
        """The factor of a group's weights, f32 lanes; `group` counts in the block and may be a loop variable."""
        return self._times_code(d, self.layout.scale, self.layout.scale_at, self.format.scale, group)

    def minimum(self, dmin: Expr, group: Expr) -> Expr:
        """The term added to a group's weights, f32 lanes."""
        kind = self.format.min
        assert kind is not None
        return self._times_code(dmin, self.layout.min, self.layout.min_at, kind.codes, group)

    def dots(self, unit: Expr) -> list[Expr]:
        """The codes of the 8 dot vectors of a unit, u8 x 4 lanes each; every stored byte is read once."""
        planes = self.layout.codes
        stored = {
            (plane, j): let(self._bytes(self._plane(unit, plane) + i64(j * DOT_BYTES)))
            for plane in planes.planes
            for j in range(DOTS // plane.per)
        }
        fields = [[_field(stored[plane, i // plane.per], plane, i % plane.per) for plane in planes.planes] for i in range(DOTS)]
        return [let(_join(f)) for f in fields]

    def dot(self, unit: Expr, i: Expr) -> Expr:
        """The codes of dot vector `i`, a loop variable, one byte per code: i32 lanes with four bytes in each."""
        parts = []
        for plane in self.layout.codes.planes:
            at = self._plane(unit, plane) + i64(_divided(i, plane.per)) * i64(DOT_BYTES)
            parts.append(_run(bits(self._bytes(at), "int32"), plane, i, every_byte=True))
        return let(_join(parts))

    def _plane(self, unit: Expr, plane: Plane) -> Expr:
        return self.start + i64(self.layout.codes_at + plane.offset) + i64(unit) * i64(self.layout.codes.nbytes)

    def _bytes(self, at: Expr) -> Expr:
        return load(self.w, at + i64(self.first) * i64(4), 4 * self.lanes)

    def _halves(self, at: int) -> Expr:
        stored = load(self.w, self.start + i64(at) + i64(self.first) * i64(2), 2 * self.lanes)
        return let(f16_to_f32(self.isa, bits(stored, "uint16")))

    def _times_code(self, d: Expr, planes: Planes | None, at: int, kind: IntCodes | None, group: Expr) -> Expr:
        if planes is None or kind is None:
            return d
        code = self._codes(planes, at, group)
        if kind.offset:
            code = code - i32(kind.offset, self.lanes)
        return let(d * convert(code, "float32"))

    def _codes(self, planes: Planes, at: int, group: Expr) -> Expr:
        """The codes of a group, i32 lanes."""
        parts = []
        for plane in planes.planes:
            stored = self.start + i64(at + plane.offset) + i64(_divided(group, plane.per)) * i64(ROWS) + i64(self.first)
            parts.append(_run(convert(load(self.w, stored, self.lanes), "int32"), plane, group, every_byte=False))
        return _join(parts)


def _divided(index: Expr, by: int) -> Expr:
    """index // by for an index >= 0 and a power of two."""
    return index // by if isinstance(index, int) else shifted(index, 1 - by.bit_length())


def _field(stored: Expr, plane: Plane, f: int) -> Expr:
    """Field f of stored bytes, moved to the plane's place in the code."""
    if plane.per == 1:
        return stored
    moved = shifted(stored, plane.at - plane.width * f)
    top = plane.at == 0 and f == plane.per - 1  # the shift has cleared the rest
    return moved if top else masked(moved, ((1 << plane.width) - 1) << plane.at)


def _run(words: Expr, plane: Plane, index: Expr, *, every_byte: bool) -> Expr:
    """The field of vector `index` (known at run time) in i32 lanes, moved to its place; in all four bytes or in the lowest."""
    if plane.per == 1:
        return words
    field = masked(index, plane.per - 1) if not isinstance(index, int) else i32(index % plane.per)
    ones = ((1 << plane.width) - 1) * (0x01010101 if every_byte else 1)
    return shifted(masked(shifted_right(words, field * i32(plane.width)), ones), plane.at)


def _join(parts: list[Expr]) -> Expr:
    total = parts[0]
    for part in parts[1:]:
        total = either(total, part)
    return total


@dataclass(frozen=True)
class Operand:
    """How the codes of a format enter a byte dot product on one level.

    Unsigned: up to `largest`, value = operand - offset, offset 0 or a power of two. Signed: the operand is the value.
    """

    signed: bool
    offset: int = 0
    largest: int = 255


def operand(fmt: BlockFormat, isa: Isa) -> Operand:
    """VNNI takes any unsigned byte, so signed levels are raised by 128; pmaddubsw would saturate, so there they stay signed."""
    if fmt.codebook is None and fmt.codes.bits < 8:
        return Operand(False, fmt.codes.offset, (1 << fmt.codes.bits) - 1)
    return Operand(False, 128) if isa.dot == "vnni" else Operand(True)


def dot_operands(fmt: BlockFormat, isa: Isa, codes: list[Expr]) -> list[Expr]:
    """Codes as `operand` describes them: u8, or i8 where signed."""
    kind = operand(fmt, isa)
    if fmt.codebook is not None:
        table = [level + 128 if not kind.signed else level & 255 for level in fmt.codebook]
        codes = [let(lookup16(table, c)) for c in codes]
    elif kind.signed:
        codes = [let(flipped(c, fmt.codes.offset)) for c in codes]
    return [bits(c, "int8") for c in codes] if kind.signed else codes


def decode(fmt: BlockFormat, isa: Isa, dot: Expr, i: int, scale: Expr, minimum: Expr | None) -> Expr:
    """Weights of column i (0..3) of a dot vector, i32 lanes from `Rows.dot` -> f32 lanes, with the bits of `dequantize`."""
    lanes = shape(dot)[1]
    if fmt.codebook is not None:
        level = shifted(shifted(dot, 24 - 8 * i), -24)  # the caller has looked the codes up: signed bytes
    else:
        level = masked(shifted(dot, -8 * i), 0xFF) - i32(fmt.codes.offset, lanes)
    weight = convert(level, "float32")
    return let(weight * scale) if minimum is None else let(fma(isa, weight, scale, minimum))


def levels_of(fmt: BlockFormat, dot: Expr) -> Expr:
    """For a codebook format, the levels of a `Rows.dot`, signed bytes in i32 lanes; other codes stay as they are."""
    if fmt.codebook is None:
        return dot
    return let(bits(lookup16([level & 255 for level in fmt.codebook], bits(dot, "uint8")), "int32"))
