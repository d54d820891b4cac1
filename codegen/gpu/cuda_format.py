"""What a CUDA kernel must know of a weight format, as C++ text made from the format's own description and its tile layout.

A struct `format_NAME` reads packed tiles from shared memory (compiler/ir/tiles.py has the layout). Its words:

    pair      eight neighbouring columns of a row as halves: columns 8 t .. 8 t + 7 of a unit, the part of lane 4 g + t in two
              products of 16 columns. They are *levels*: numbers that halves hold exactly, before scaling
    scale     the code of a group's scale, as the bits of a half        factor   what the block's scale codes multiply, f32
    minimum   the code of a group's min or zero point, likewise         least    what the codes of mins multiply, f32

A tile's bytes arrive in shared memory in *stages* of 64 columns. Small blocks come whole; of larger ones the codes of weights
come by stages, and the head (everything before them; everything, where codes are indices of a grid or trits) with the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmc.ir.grid import Shift, Signs
from llmc.ir.quant import BlockFormat, DenseFormat, E4m3, Format, IntCodes, Trits, Ue4m3
from llmc.ir.tiles import DOT_BYTES, DOTS, ROWS, TRITS, UNIT, Planes, TileLayout

STAGE = 64  # columns
_DENSE = ("f16", "bf16")
_BIAS_F16 = 0x6400  # the bits of 1024


def supported(fmt: Format) -> bool:
    """Whether matrix units take weights of the format: dense numbers that halves hold, and blocks that fill stages evenly."""
    if isinstance(fmt, DenseFormat):
        return fmt.name in _DENSE
    whole = fmt.weights == UNIT or fmt.weights % STAGE == 0
    return whole and (fmt.group == fmt.weights or fmt.group in (UNIT // 2, UNIT, STAGE))


@dataclass(frozen=True)
class Shape:
    """How the bytes of a row tile come in stages.

    stages   of a piece: a block, or a stage where that is larger
    blocks   in a stage, where blocks come whole; else 0
    head     bytes of a block that come with its first stage; 0 where blocks come whole
    codes    bytes of a tile in a stage
    groups   with codes of their own in a block; 0 for none
    table    bytes of a tile's table: a half for each group and row of the stage's blocks, for scales and for mins
    """

    stages: int
    blocks: int
    head: int
    codes: int
    groups: int = 0
    table: int = 0

    @staticmethod
    def of(fmt: Format) -> Shape:
        if isinstance(fmt, DenseFormat):
            return Shape(1, 1, 0, STAGE * ROWS * fmt.nbytes)
        layout = TileLayout(fmt)
        tables = (layout.scale is not None) + (layout.min is not None)
        groups, table = (fmt.groups, 2 * ROWS * fmt.groups * tables) if tables else (0, 0)
        if fmt.weights <= STAGE:
            blocks = STAGE // fmt.weights
            return Shape(1, blocks, 0, layout.nbytes * blocks, groups, table * blocks)
        stages = fmt.weights // STAGE
        if _whole(fmt):
            return Shape(stages, 0, layout.nbytes, 0, groups, table)
        return Shape(stages, 0, layout.codes_at, layout.codes.nbytes * STAGE // UNIT, groups, table)

    def heads(self, stages: int) -> int:
        """Blocks whose heads `stages` neighbouring stages can need."""
        return (stages + self.stages - 2) // self.stages + 1 if self.head else 0


def lowered(fmt: Format) -> bool:
    """Whether weights have mins, which are added; zero points are subtracted from levels instead."""
    return isinstance(fmt, BlockFormat) and fmt.min is not None and not fmt.min.zero_point


def _whole(fmt: BlockFormat) -> bool:
    """Whether the codes of a unit are no run of bytes, so that the block comes at once."""
    return fmt.grid is not None or isinstance(fmt.codes, Trits)


def text(fmt: Format) -> str:
    """The struct of a format. Raises ValueError for one that is not `supported`."""
    if not supported(fmt):
        raise ValueError(f"{fmt.name} is no format for matrix units")
    shape = Shape.of(fmt)
    facts = {
        "stages": shape.stages, "blocks": shape.blocks, "head_bytes": shape.head, "code_bytes": shape.codes,
        "groups": shape.groups, "table_bytes": shape.table, "bytes": ROWS * fmt.nbytes, "columns": fmt.weights,
        **_block_facts(fmt),
    }  # fmt: skip
    lines = [f"  static constexpr {_type(value)} {name} = {str(value).lower()};" for name, value in facts.items()]
    if isinstance(fmt, BlockFormat):
        lines += [*_factors(fmt), *_codes(fmt), *_pair(fmt)]
    return "\n".join(["namespace llmc {", f"struct {struct(fmt)} {{", *lines, "};", "}  // namespace llmc", ""])


def _block_facts(fmt: Format) -> dict[str, int]:
    """What dense formats have none of."""
    if isinstance(fmt, DenseFormat):
        flags = dict.fromkeys(("scaled", "lowered", "coded_min", "zero_points"), False)
        return {"dense": True, "bfloat": fmt.name == "bf16", "group": 0, "block_codes_at": 0, "unit_bytes": 0, **flags}
    layout, zero_points = TileLayout(fmt), fmt.min is not None and fmt.min.zero_point
    return {
        "dense": False, "bfloat": False, "group": fmt.group, "block_codes_at": layout.codes_at, "unit_bytes": layout.codes.nbytes,
        "scaled": layout.scale is not None, "lowered": lowered(fmt), "coded_min": layout.min is not None,
        "zero_points": zero_points,
    }  # fmt: skip


def _type(value: int) -> str:
    return "bool" if isinstance(value, bool) else "int"


def struct(fmt: Format) -> str:
    return f"format_{fmt.name}"


def _function(result: str, name: str, arguments: str, body: str) -> str:
    return f"  static LLMC_DEVICE {result} {name}({arguments}) {{ {body} }}"


def _factors(fmt: BlockFormat) -> list[str]:
    found = [_function("float", "factor", "const u8 *head, int row", f"return {_factor(fmt)};")]
    if fmt.min is not None and not fmt.min.zero_point:
        sign = "-" if fmt.min.sign < 0 else ""
        value = f"from_half(half_word(head + {TileLayout(fmt).dmin_at} + 2 * row))"
        found.append(_function("float", "least", "const u8 *head, int row", f"return {sign}{value};"))
    return found


def _factor(fmt: BlockFormat) -> str:
    unit = f"{float(fmt.unit).hex()}f"
    read = {
        "f16": "from_half(half_word(head + 2 * row))", "bf16": "from_bits(half_word(head + 2 * row) << 16)",
        "f32": "from_bits(word(head + 4 * row))", "e8m0": "power_of_two(head[row])", "one": "1.0f",
    }[fmt.factor]  # fmt: skip
    return read if fmt.unit == 1 else f"{read} * {unit}"


def _codes(fmt: BlockFormat) -> list[str]:
    """Codes of groups as halves. The code of a zero point is what is subtracted from levels."""
    layout, found, arguments = TileLayout(fmt), [], "const u8 *head, int group, int row"
    if fmt.scale is not None and layout.scale is not None:
        code = _read(layout.scale, layout.scale_at, "group")
        found.append(_function("u32", "scale", arguments, f"return {_half(fmt.scale, code)};"))
    if fmt.min is not None and fmt.min.codes is not None and layout.min is not None:
        assert not fmt.min.zero_point or fmt.min.sign < 0, fmt.name
        code = _read(layout.min, layout.min_at, "group")
        found.append(_function("u32", "minimum", arguments, f"return {_half(fmt.min.codes, code)};"))
    return found


def _half(kind: IntCodes | Ue4m3, code: str) -> str:
    if isinstance(kind, Ue4m3):
        return f"half_of_ue4m3({code})"
    return f"half_of((int)({code}) * {kind.step} - {kind.offset})"


def _read(planes: Planes, at: int, index: str) -> str:
    """A code among planes of one byte a row, of the number `index`."""
    parts = []
    for plane in planes.planes:
        if plane.per == 1:
            parts.append(f"(u32)head[{at + plane.offset} + ({index}) * {ROWS} + row] << {plane.at}")
        else:
            byte = f"(u32)head[{at + plane.offset} + ({index}) / {plane.per} * {ROWS} + row]"
            mask = (1 << plane.width) - 1
            parts.append(f"({byte} >> ({index}) % {plane.per} * {plane.width} & {mask}) << {plane.at}")
    return f"({' | '.join(parts)})"


def _pair(fmt: BlockFormat) -> list[str]:
    """`unit` counts in the block; `codes` is where the unit's codes are, where those come by units."""
    body = "\n".join(f"    {line}" for line in [*_levels(fmt), *_halved(fmt)])
    arguments = "const u8 *head, const u8 *codes, int unit, int t, int row, u32 (&pair)[4]"
    return [f"  static LLMC_DEVICE void pair({arguments}) {{\n{body}\n  }}"]


def _levels(fmt: BlockFormat) -> list[str]:
    """Statements that define `a` and `b`: dot vectors 2 t and 2 t + 1 of the unit, a code or a level in each byte."""
    layout = TileLayout(fmt)
    if fmt.grid is not None:
        return _grid(fmt, layout)
    if isinstance(fmt.codes, Trits):
        at = f"head + {layout.codes_at} + (unit * {DOTS} + 2 * t + H) / {TRITS} * {DOT_BYTES} + 4 * row"
        read = f"trits(word({at}), (unit * {DOTS} + 2 * t + H) % {TRITS})"
        return [f"u32 {name} = {read.replace('H', str(h))};" for h, name in enumerate("ab")]
    if fmt.codebook is not None:
        return _codebook(fmt)
    return [f"u32 {name} = {_planes(layout.codes, h)};" for h, name in enumerate("ab")]


def _planes(planes: Planes, h: int) -> str:
    """Dot vector 2 t + h of a unit: four codes, a byte each."""
    parts = []
    for plane in planes.planes:
        vector = {1: f"(2 * t + {h})", 2: "t", 4: "(t >> 1)", 8: "0"}[plane.per]
        field = {1: "0", 2: str(h), 4: f"((t & 1) * 2 + {h})", 8: f"(2 * t + {h})"}[plane.per]
        ones = ((1 << plane.width) - 1) * 0x01010101
        stored = f"word(codes + {plane.offset} + {vector} * {DOT_BYTES} + 4 * row)"
        field = f"({stored} >> {field} * {plane.width} & {ones:#x}u)" if plane.per > 1 else stored
        parts.append(f"{field} << {plane.at}" if plane.at else field)
    return " | ".join(parts)


def _codebook(fmt: BlockFormat) -> list[str]:
    assert fmt.codebook is not None and fmt.codes.bits == 4, fmt.name
    table = bytes(v & 255 for v in fmt.codebook)
    words = ", ".join(f"{int.from_bytes(table[i : i + 4], 'little'):#x}u" for i in range(0, 16, 4))
    return ["u32 a, b;", f"table16(word(codes + t * {DOT_BYTES} + 4 * row), {words}, a, b);"]


def _grid(fmt: BlockFormat, layout: TileLayout) -> list[str]:
    assert fmt.grid is not None
    name = f"llmc_grid_{fmt.name}"
    if fmt.grid.width == 8:
        found = [f"u32 point = {_read(layout.codes, layout.codes_at, 'unit * 4 + t')} * 2;"]
        found += [f"u32 {n} = (u32){name}((int)point + {h});" for h, n in enumerate("ab")]
    else:
        code = [_read(layout.codes, layout.codes_at, f"unit * {DOTS} + 2 * t + {h}") for h in (0, 1)]
        found = [f"u32 {n} = (u32){name}((int){c});" for n, c in zip("ab", code, strict=True)]
    return found + _signs(fmt, layout)


def _signs(fmt: BlockFormat, layout: TileLayout) -> list[str]:
    if fmt.signs is None:
        return []
    assert layout.signs is not None
    if isinstance(fmt.signs, Signs):
        code = _read(layout.signs, layout.signs_at, "unit * 4 + t")
        signs = f"with_parity({code})" if fmt.signs.bits == 7 else code
        return [f"u32 signs = {signs};", "a = negated(a, signs & 15);", "b = negated(b, signs >> 4);"]
    return [f"u32 shift = {_read(layout.signs, layout.signs_at, _shift_index(fmt.signs))};"] + [
        f"{n} = moved({n}, {(fmt.signs.by & 255) * 0x01010101:#x}u, shift);" for n in "ab"
    ]


def _shift_index(shift: Shift) -> str:
    return {8: "unit * 4 + t", UNIT: "unit"}[shift.weights]


def _halved(fmt: BlockFormat) -> list[str]:
    """Bytes `a` and `b` to the four pairs of halves."""
    if isinstance(fmt.codes, E4m3):
        return [
            f"pair[{2 * h + i}] = from_e4m3(permute({n}, 0, {selector}));"
            for h, n in enumerate("ab")
            for i, selector in enumerate(("0x1404", "0x3424"))
        ]
    signed = fmt.codebook is not None or fmt.grid is not None
    bias = _BIAS_F16 + (128 if signed else fmt.codes.offset)
    change = " ^ 0x80808080u" if signed else f" * {fmt.codes.step}" if fmt.codes.step > 1 else ""
    return [f"from_bytes({n}{change}, {bias * 0x10001:#x}u, pair[{2 * h}], pair[{2 * h + 1}]);" for h, n in enumerate("ab")]
