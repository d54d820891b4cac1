"""How the scales of a linear lie over its weight [N, K]: one for all of it, for each row, for groups of columns, or for blocks of
rows and columns; and the linears of 8-bit floats, which differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.frontend.derived import stack_name
from llmc.frontend.quant._groups import float8_format
from llmc.frontend.quantized import SCALES, UNIT, Linear, Numbers, Read, block_width, factor_of, scale_numbers, write_blocks
from llmc.frontend.safetensors import Stored
from llmc.ir.quant import E4M3, DenseFormat, dequantize

F32: Final = DenseFormat("f32", 0, 4)
TYPES: Final = (*SCALES, "F8_E8M0")


@dataclass(frozen=True)
class Over:
    """A scale covers `rows` by `columns` weights; the last ones cover what is left."""

    rows: int
    columns: int


def check_scales(stored: Stored, over: Over, n: int, k: int) -> None:
    """Raises MalformedFileError where these are no scales of a weight [n, k]."""
    grid = (-(-n // over.rows), -(-k // over.columns))
    shapes = {grid, *({(grid[0],)} if grid[1] == 1 else ()), *({()} if grid == (1, 1) else ())}
    if stored.dtype not in TYPES or stored.shape not in shapes:
        what = f"tensor {stored.name} is {stored.dtype} {list(stored.shape)}"
        raise MalformedFileError(f"{what}, expected {' or '.join(TYPES)} {list(grid)}")


def spread(stored: Stored, over: Over, n: int, read: Read) -> Numbers:
    """Scales by row: [n, ceil(K / over.columns)], as blocks store them."""
    values = scale_numbers(stored, read)
    values = values.reshape(-(-n // over.rows), -1)
    return values.repeat(min(over.rows, n), axis=0)[:n]


def float8_linear(name: str, parts: Mapping[str, Stored], scale: str, over: Over) -> dict[str, Linear]:
    """The linear `name` of E4M3 floats, `parts` its "weight", `scale` and what else belongs to it; by tensor name.

    Where a scale covers whole rows the floats stay as they are and the scales are a tensor of their own, [N]. Otherwise, and for
    experts, which are stacked, they become blocks. Raises MalformedFileError or UnsupportedModelError naming the tensor.
    """
    weight, scales = parts["weight"], parts[scale]
    if len(weight.shape) != 2 or weight.dtype != "F8_E4M3" or 0 in weight.shape:
        raise MalformedFileError(f"tensor {weight.name} is {weight.dtype} {list(weight.shape)}, expected F8_E4M3 in rows")
    n, k = weight.shape
    check_scales(scales, over, n, k)
    full = f"{name}.weight"
    if over.columns >= k and stack_name(full) == full:
        return _by_rows(full, parts, weight, scales, over)
    if k % UNIT or (over.columns < k and over.columns % UNIT):
        what = f"tensor {full}: {k} columns with scales for {over.columns}"
        raise UnsupportedModelError(f"{what}; llmc compiles multiples of {UNIT}")
    fmt = float8_format(block_width(min(over.columns, k), k), factor_of(scales))

    def build(read: Read) -> Bytes:
        codes = read(weight).reshape(n, k)
        return write_blocks(fmt, n, k, over.columns, [spread(scales, over, n, read)], lambda lo, hi: codes[lo:hi])

    tensor = Tensor(full, fmt, (n, k), weight.file, weight.offset, n * fmt.row_bytes(k))
    return {full: Linear(tensor, parts, build)}


def _by_rows(full: str, parts: Mapping[str, Stored], weight: Stored, scales: Stored, over: Over) -> dict[str, Linear]:
    n = weight.shape[0]
    tensor = Tensor(full, E4M3, weight.shape, weight.file, weight.offset, weight.nbytes, scales=scales.name)
    factors = Tensor(scales.name, F32, (n,), scales.file, scales.offset, 4 * n)
    others = {part: t for part, t in parts.items() if t.name != scales.name}

    def rows(read: Read) -> Bytes:
        values = spread(scales, over, n, read)
        stored = {"f16": DenseFormat("f16", 1, 2), "bf16": DenseFormat("bf16", 30, 2), "f32": F32}[factor_of(scales)]
        return dequantize(stored, np.ascontiguousarray(values).view(np.uint8)).view(np.uint8)

    return {full: Linear(tensor, others, lambda read: read(weight)), scales.name: Linear(factors, {"scale": scales}, rows)}
