"""Linears that a Hugging Face directory stores in several tensors, as one weight whose bits stay as they are.

A reader of a method (gptq.py, awq.py, compressed_tensors.py, fp8.py) says what a linear's tensors mean; here the blocks are
written that kernels know: codes of B bits in a stream along each row, low bits first, a scale for each group of columns, and
a zero point where there are zero points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.frontend.quant._groups import runs
from llmc.frontend.safetensors import Stored
from llmc.ir.quant import INDICES, BlockFormat, DenseFormat, dequantize

CONFIG: Final = "config.json: quantization_config"
MAX_GROUP: Final = 1 << 16
UNIT: Final = 32  # columns that a kernel takes at a time: groups are multiples of it
MAX_BLOCK: Final = 256  # columns: larger groups become several blocks, which repeat their scale
CHUNK_ROWS: Final = 256

Read = Callable[[Stored], Bytes]
Numbers = NDArray[Any]

SCALES: Final = {
    "F16": DenseFormat("f16", 1, 2), "BF16": DenseFormat("bf16", 30, 2), "F32": DenseFormat("f32", 0, 4),
    "F8_E4M3": DenseFormat("e4m3", -1, 1),
}  # fmt: skip
"""The types scales may have."""
_FACTORS: Final = {"F16": "f16", "BF16": "bf16", "F32": "f32", "F8_E4M3": "f16", "F8_E8M0": "f32"}


@dataclass(frozen=True)
class Source:
    """What a directory says and stores: config is config.json's quantization_config, beside quantize_config.json, {} where there
    is none; stored are its tensors by name."""

    config: Mapping[str, Any]
    beside: Mapping[str, Any]
    stored: Mapping[str, Stored]
    read: Read


@dataclass(frozen=True)
class Linear:
    """A weight put together from `parts`, by the last word of their names. `tensor` is what the rest of llmc sees of it."""

    tensor: Tensor
    parts: Mapping[str, Stored]
    build: Callable[[Read], Bytes]

    def assemble(self, read: Read) -> Bytes:
        """The blocks of the weight, row after row: u8 [N * row_bytes]."""
        return self.build(read)


@dataclass(frozen=True)
class Groups:
    """Integers of a weight [N, K] before they are blocks.

    width: columns that share a scale. scales [N, groups] of the format's factor; zeros u8 [N, groups], None: all in the middle.
    stream(lo, hi): the codes of rows [lo, hi) in the order they are stored, u8 [rows, K * bits / 8].
    order i32 [K]: which of these columns comes first, second ...; None: as they are.
    """

    bits: int
    width: int
    scales: Numbers
    zeros: Bytes | None
    stream: Callable[[int, int], Bytes]
    order: NDArray[np.int32] | None = None


def check_group(group: object, whole: int | None) -> int:
    """A group size as the config has it; `whole` is what stands for all of a row, None: nothing does."""
    also = "" if whole is None else f"{whole} and "
    if isinstance(group, bool) or not isinstance(group, int) or not (group == whole or 0 < group <= MAX_GROUP):
        raise MalformedFileError(f"{CONFIG} group_size is {group!r:.30}, expected {also}1 to {MAX_GROUP}")
    if group % UNIT and group != whole:
        raise UnsupportedModelError(f"{CONFIG} group_size is {group}; llmc compiles {also}multiples of {UNIT}")
    return group


def block_width(group: int, k: int) -> int:
    """Columns of a block: the most that always lie in one group, a power of two from UNIT to MAX_BLOCK, or less than UNIT."""
    common = group | k
    return min(common & -common, MAX_BLOCK)


def factor_of(stored: Stored) -> str:
    """The type in which blocks store these scales."""
    return _FACTORS[stored.dtype]


def scale_numbers(stored: Stored, read: Read) -> Numbers:
    """Scales in their own shape, of the type that `factor_of` says."""
    raw = read(stored)
    if stored.dtype == "BF16":
        return raw.view("<u2").reshape(stored.shape)
    if stored.dtype == "F8_E8M0":
        return np.ldexp(np.float32(1), raw.astype(np.int32) - 127).reshape(stored.shape)
    values = dequantize(SCALES[stored.dtype], raw).reshape(stored.shape)
    return values if stored.dtype == "F32" else values.astype("<f2")


def write_groups(fmt: BlockFormat, n: int, k: int, g: Groups) -> Bytes:
    """The blocks of integers in groups: u8 [N * row_bytes]."""
    return write_blocks(fmt, n, k, g.width, (g.scales, g.zeros), lambda lo, hi: _fields(fmt, g, lo, hi))


def write_blocks(
    fmt: BlockFormat, n: int, k: int, width: int, heads: Iterable[Numbers | None], codes: Callable[[int, int], Bytes]
) -> Bytes:
    """Blocks of some numbers each of `heads` has for every `width` columns, then codes: u8 [N * row_bytes].

    heads [N, ceil(K / width)], of the types the format has; codes(lo, hi) in any shape.
    """
    count = k // fmt.weights
    group = np.arange(count) * fmt.weights // width
    out = np.empty((n, count, fmt.nbytes), np.uint8)
    at = 0
    for head in (h for h in heads if h is not None):
        size = head.itemsize
        out[:, :, at : at + size] = np.ascontiguousarray(head[:, group])[:, :, None].view(np.uint8)
        at += size
    for lo in range(0, n, CHUNK_ROWS):
        hi = min(lo + CHUNK_ROWS, n)
        out[lo:hi, :, at:] = codes(lo, hi).reshape(hi - lo, count, -1)
    return out.reshape(-1)


def _fields(fmt: BlockFormat, g: Groups, lo: int, hi: int) -> Bytes:
    """The codes of rows [lo, hi) as group_format stores them, block after block."""
    packed = g.stream(lo, hi)
    if g.order is not None:
        packed = packed_stream(stream(packed, g.bits)[:, g.order], g.bits)
    if len(runs(g.bits)) == 1:
        return packed
    digits = np.unpackbits(stream(packed, g.bits).reshape(-1, fmt.weights, 1), axis=2, bitorder="little", count=g.bits)
    planes = [digits[:, :, at : at + width].reshape(len(digits), -1) for at, width in runs(g.bits)]
    return np.concatenate([np.packbits(plane, axis=1, bitorder="little") for plane in planes], axis=1)


def stream(packed: Bytes, bits: int) -> Bytes:
    """u8 [rows, bytes], codes one after the other from the low bits up -> u8 [rows, codes]."""
    digits = np.unpackbits(packed, axis=1, bitorder="little").reshape(len(packed), -1, bits)
    return np.packbits(digits, axis=2, bitorder="little")[:, :, 0]


def packed_stream(codes: Bytes, bits: int) -> Bytes:
    """What `stream` reads: u8 [rows, codes] -> u8 [rows, bytes]."""
    digits = np.unpackbits(codes[:, :, None], axis=2, bitorder="little", count=bits)
    return np.packbits(digits.reshape(len(codes), -1), axis=1, bitorder="little")


# Columns in another order ----------------------------------------------------------------------------------------------


def check_groups(stored: Stored, groups: NDArray[np.int32], width: int) -> None:
    """g_idx gives the group of each column, as many to each but the last. Raises MalformedFileError."""
    count = -(-len(groups) // width)
    outside = np.flatnonzero((groups < 0) | (groups >= count))
    if outside.size:
        what = f"tensor {stored.name} holds {groups[outside[0]]} at {outside[0]}"
        raise MalformedFileError(f"{what}, expected groups 0 to {count - 1}")
    sizes = np.bincount(groups, minlength=count)
    expected = np.minimum(width, len(groups) - width * np.arange(count))
    uneven = np.flatnonzero(sizes != expected)
    if uneven.size:
        i = uneven[0]
        what = f"tensor {stored.name} puts {sizes[i]} columns in group {i}"
        raise MalformedFileError(f"{what}, expected {expected[i]} as the group size {width} says")


def is_ascending(groups: NDArray[np.int32]) -> bool:
    return bool((groups[1:] >= groups[:-1]).all())


def order_of(groups: NDArray[np.int32]) -> NDArray[np.int32]:
    """The columns group by group, those of a group ascending."""
    return np.argsort(groups, kind="stable").astype("<i4")


def with_orders(linears: Iterable[Linear], part: str, read: Read) -> dict[str, Linear]:
    """The linears by tensor name, and the orders of the columns of some: i32 [K]. Linears with the same share one.

    A tensor whose columns have an order names, in `columns`, the `part` that says the group of each.
    """
    found: dict[str, Linear] = {}
    names: dict[bytes, str] = {}
    for linear in linears:
        if linear.tensor.columns is None:
            found[linear.tensor.name] = linear
            continue
        stored = linear.parts[part]
        name = names.setdefault(bytes(read(stored)), stored.name)
        if name == stored.name:
            tensor = Tensor(name, INDICES, stored.shape, stored.file, stored.offset, stored.nbytes)
            found[name] = Linear(tensor, {part: stored}, _order_bytes(stored))
        found[linear.tensor.name] = replace(linear, tensor=replace(linear.tensor, columns=name))
    return found


def _order_bytes(stored: Stored) -> Callable[[Read], Bytes]:
    return lambda read: order_of(read(stored).view("<i4")).view(np.uint8)
