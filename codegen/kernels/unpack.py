"""Reading packed tiles in TIR: headers to floats, codes to byte vectors. The layout is in compiler/ir/tiles.py."""

from dataclasses import dataclass

from llmc.codegen.kernels import unpack_grid, unpack_trits
from llmc.codegen.kernels.unpack_grid import divided
from llmc.codegen.tir import (
    Expr,
    View,
    bits,
    const,
    convert,
    dense_element,
    dense_to_f32,
    e4m3_to_f32,
    either,
    field_moved,
    fma,
    i32,
    i64,
    let,
    load,
    lookup16,
    masked,
    pick,
    select,
    shape,
    shifted,
    shifted_right,
    splat,
)
from llmc.codegen.tir_table import looked_up
from llmc.ir.quant import FACTOR_BYTES, BlockFormat, E4m3, IntCodes, Trits, Ue4m3
from llmc.ir.tiles import DOT_BYTES, DOTS, ROWS, Plane, Planes, TileLayout
from llmc.target import Isa

_SHUFFLED = 4  # 32-bit lanes of the narrowest byte shuffle


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
        """d * unit, f32 lanes."""
        unit = const(self.format.unit, "float32", self.lanes)
        if self.format.factor == "one":
            return unit
        d = self._power() if self.format.factor == "e8m0" else self._floats(0, self.format.factor)
        return d if self.format.unit == 1 else let(d * unit)

    def dmin(self) -> Expr:
        """f32 lanes, with the sign of the format's min."""
        kind = self.format.min
        assert kind is not None
        value = self.d() if kind.zero_point else self._floats(self.layout.dmin_at, "f16")
        return value if kind.sign > 0 else let(const(0.0, "float32", self.lanes) - value)

    def scale(self, d: Expr, group: Expr) -> Expr:
        """The factor of a group's weights, f32 lanes; `group` counts in the block and may be a loop variable."""
        return self._times_code(d, self.layout.scale, self.layout.scale_at, self.format.scale, group)

    def minimum(self, dmin: Expr, group: Expr) -> Expr:
        """The term added to a group's weights, f32 lanes."""
        kind = self.format.min
        assert kind is not None
        return self._times_code(dmin, self.layout.min, self.layout.min_at, kind.codes, group)

    def whole_scale(self, group: Expr) -> Expr:
        """What a group's scale code stands for, i32 lanes."""
        kind, planes = self.format.scale, self.layout.scale
        assert isinstance(kind, IntCodes) and planes is not None
        return let(_value(kind, self.codes(planes, self.layout.scale_at, group)))

    def whole_minimum(self, group: Expr) -> Expr:
        """What a group's min code stands for, i32 lanes; `dmin` has its sign."""
        assert self.format.min is not None and self.format.min.codes is not None and self.layout.min is not None
        return let(_value(self.format.min.codes, self.codes(self.layout.min, self.layout.min_at, group)))

    def dots(self, unit: Expr) -> list[Expr]:
        """The codes of the 8 dot vectors of a unit, u8 x 4 lanes each; the levels, as signed bytes, where a grid gives them."""
        if self.format.grid is not None or isinstance(self.format.codes, Trits):
            return [let(bits(self.dot(unit, i), "uint8")) for i in range(DOTS)]
        planes = self.layout.codes  # every stored byte is read once
        stored = {
            (plane, j): let(self._bytes(self._plane(unit, plane) + i64(j * DOT_BYTES)))
            for plane in planes.planes
            for j in range(DOTS // plane.per)
        }
        fields = [
            [_field(self.isa, stored[plane, i // plane.per], plane, i % plane.per) for plane in planes.planes]
            for i in range(DOTS)
        ]
        return [let(_join(f)) for f in fields]

    def dot(self, unit: Expr, i: Expr) -> Expr:
        """As `dots` for dot vector `i`, a number or a loop variable: i32 lanes with four bytes in each."""
        if self.format.grid is not None:
            return unpack_grid.dot_levels(self, unit, i)
        if isinstance(self.format.codes, Trits):
            vector, power = unpack_trits.place(unit * DOTS + i)
            at = self.start + i64(self.layout.codes_at) + i64(vector) * i64(DOT_BYTES)
            return let(unpack_trits.digits(bits(self._bytes(at), "int32"), power))
        parts = []
        for plane in self.layout.codes.planes:
            at = self._plane(unit, plane) + i64(divided(i, plane.per)) * i64(DOT_BYTES)
            parts.append(_run(bits(self._bytes(at), "int32"), plane, i, every_byte=True))
        return let(_join(parts))

    def looked_up(self, index: Expr) -> Expr:
        """Words of the format's grid, i32 lanes."""
        return looked_up(index)

    def _plane(self, unit: Expr, plane: Plane) -> Expr:
        return self.start + i64(self.layout.codes_at + plane.offset) + i64(unit) * i64(self.layout.codes.nbytes)

    def _bytes(self, at: Expr) -> Expr:
        return load(self.w, at + i64(self.first) * i64(4), 4 * self.lanes)

    def _floats(self, at: int, dtype: str) -> Expr:
        """One number of the block for each row, f32 lanes."""
        size = FACTOR_BYTES[dtype]
        stored = load(self.w, self.start + i64(at) + i64(self.first) * i64(size), size * self.lanes)
        return let(dense_to_f32(self.isa, dtype, bits(stored, dense_element(dtype))))

    def _power(self) -> Expr:
        """2^(byte - 128), f32 lanes: the byte less one as an exponent; bytes 0 and 1 are below the smallest normal number."""
        byte = let(convert(load(self.w, self.start + i64(self.first), self.lanes), "int32"))
        half = select(byte < i32(2, self.lanes), shifted(byte + i32(1, self.lanes), 21), shifted(byte - i32(1, self.lanes), 23))
        return let(bits(half, "float32"))

    def _times_code(self, d: Expr, planes: Planes | None, at: int, kind: IntCodes | Ue4m3 | None, group: Expr) -> Expr:
        if planes is None or kind is None:
            return d
        code = self.codes(planes, at, group)
        if isinstance(kind, Ue4m3):
            return let(d * _ue4m3(let(code)))
        return let(d * convert(_value(kind, code), "float32"))

    def codes(self, planes: Planes, at: int, index: Expr) -> Expr:
        """The codes of number `index` in planes from byte `at` of the block, i32 lanes."""
        parts = []
        for plane in planes.planes:
            stored = self.start + i64(at + plane.offset) + i64(divided(index, plane.per)) * i64(ROWS) + i64(self.first)
            parts.append(_run(convert(load(self.w, stored, self.lanes), "int32"), plane, index, every_byte=False))
        return _join(parts)


def _value(kind: IntCodes, code: Expr) -> Expr:
    """What codes stand for, i32 lanes."""
    value = shifted(code, kind.step.bit_length() - 1)
    return value - i32(kind.offset, shape(code)[1]) if kind.offset else value


def _ue4m3(code: Expr) -> Expr:
    """i32 lanes -> f32 lanes: the bits moved to where a float has them, and the exponent's bias from 7 to 127. Exponent 0 goes
    another way: as f32 these bits would be a subnormal number, which takes the processor a hundred times as long."""
    lanes = shape(code)[1]
    magnitude = let(masked(code, 127))
    tiny = convert(magnitude, "float32") * const(2.0**-9, "float32", lanes)
    normal = bits(shifted(magnitude, 20) + i32(120 << 23, lanes), "float32")
    value = select(magnitude < i32(8, lanes), tiny, normal)
    return select(code == i32(127, lanes), const(0.0, "float32", lanes), value)


def _field(isa: Isa, stored: Expr, plane: Plane, f: int) -> Expr:
    """Field f of stored bytes, moved to the plane's place in the code."""
    if plane.per == 1:
        return stored
    by = plane.at - plane.width * f
    if plane.at == 0 and f == plane.per - 1:  # the shift has cleared the rest
        return shifted(stored, by)
    return field_moved(isa, stored, by, ((1 << plane.width) - 1) << plane.at)


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
    """Levels are raised by a power of two to become unsigned. Where pmaddubsw would saturate with that they stay signed."""
    low, high = fmt.span
    if isa.tiles:  # any sign will do, and there is no start to a sum
        assert low >= -128 and high <= 255 and (low >= 0 or high <= 127), fmt.name
        return Operand(low < 0)
    offset = 1 << (-low - 1).bit_length() if low < 0 else 0
    if isa.dot == "vnni" or high + offset <= 127:
        return Operand(False, offset, high + offset)
    return Operand(True)


def dot_operands(fmt: BlockFormat, isa: Isa, codes: list[Expr]) -> list[Expr]:
    """What `Rows.dots` gives as `operand` describes it: u8, or i8 where signed."""
    kind = operand(fmt, isa)
    if fmt.grid is not None:
        codes = [let(c + const(kind.offset, "uint8", shape(c)[1])) for c in codes]
    elif fmt.codebook is not None:
        table = [(level + kind.offset) & 255 for level in fmt.codebook]
        codes = [let(lookup16(table, c)) for c in codes]
    else:
        codes = [let(shifted(c, fmt.codes.step.bit_length() - 1)) for c in codes]
        if kind.signed:
            codes = [let(c - const(fmt.codes.offset, "uint8", shape(c)[1])) for c in codes]
    return [bits(c, "int8") for c in codes] if kind.signed else codes


def decode(fmt: BlockFormat, isa: Isa, dot: Expr, i: int, scale: Expr, minimum: Expr | None) -> Expr:
    """Weights of column i (0..3) of a dot vector, i32 lanes from `levels_of` -> f32 lanes, with the bits of `dequantize`."""
    byte = masked(shifted(dot, -8 * i), 0xFF)
    if isinstance(fmt.codes, E4m3):
        return let(e4m3_to_f32(isa, convert(byte, "uint8")) * scale)
    level = _value(fmt.codes, byte)
    if fmt.codebook is not None or fmt.grid is not None:
        level = shifted(shifted(dot, 24 - 8 * i), -24)  # signed bytes
    weight = convert(level, "float32")
    return let(weight * scale) if minimum is None else let(fma(isa, weight, scale, minimum))


def four_levels(fmt: BlockFormat, isa: Isa, dot: Expr) -> Expr:
    """The levels of a `Rows.dot` of one row, f32x4."""
    if isinstance(fmt.codes, E4m3):
        return e4m3_to_f32(isa, bits(dot, "uint8"))
    if fmt.codebook is not None:
        looked_up = lookup16([level & 255 for level in fmt.codebook], bits(splat(dot, _SHUFFLED), "uint8"))
        return convert(convert(pick(bits(looked_up, "int8"), range(4)), "int32"), "float32")
    if fmt.grid is not None:
        return convert(convert(bits(dot, "int8"), "int32"), "float32")
    return convert(_value(fmt.codes, convert(bits(dot, "uint8"), "int32")), "float32")


def levels_of(fmt: BlockFormat, dot: Expr) -> Expr:
    """For a codebook format, the levels of a `Rows.dot`, signed bytes in i32 lanes; other codes stay as they are."""
    if fmt.codebook is None:
        return dot
    return let(bits(lookup16([level & 255 for level in fmt.codebook], bits(dot, "uint8")), "int32"))
