"""GPTQ and AWQ in safetensors: the tensors `qweight`, `qzeros`, `scales` (and GPTQ's `g_idx`) of a linear as one weight, whose
bits stay as they are.

For a weight [N, K] in G groups of columns, with B-bit codes: scales f16 [G, N];
    GPTQ  qweight i32 [K*B/32, N], a stream of codes down each column; qzeros i32 [G, N*B/32], along rows, less one in format v1
          g_idx i32 [K], the group of each column: with desc_act (act-order) not ascending; the blocks are made in its order then
    AWQ   qweight i32 [K, N/8], qzeros i32 [G, N/8]: the eight nibbles of a word are columns 0 2 4 6 1 3 5 7 of its eight

Reference: GPTQModel, nn_modules/qlinear; AutoAWQ, awq/utils/packing_utils.py. Papers: arXiv:2210.17323, arXiv:2306.00978.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor, quoted
from llmc.frontend.json_file import json_kind
from llmc.frontend.quant._groups import BITS, group_format
from llmc.frontend.safetensors import Stored
from llmc.ir.quant import INDICES, BlockFormat

CONFIG: Final = "config.json: quantization_config"
BESIDE: Final = "quantize_config.json"
PARTS: Final = ("qweight", "qzeros", "scales", "g_idx")
DTYPES: Final = {"qweight": "I32", "qzeros": "I32", "scales": "F16", "g_idx": "I32"}
AWQ_COLUMNS: Final = (0, 2, 4, 6, 1, 3, 5, 7)
MAX_GROUP: Final = 1 << 16
UNIT: Final = 32  # columns that a kernel takes at a time: groups are multiples of it
MAX_BLOCK: Final = 256  # columns: larger groups become several blocks, which repeat their scale
CHUNK_ROWS: Final = 256

Read = Callable[[Stored], Bytes]


@dataclass(frozen=True)
class Quantization:
    """method "gptq" or "awq"; group in columns, -1: all of a row; v1: GPTQ's zero points are stored less one."""

    method: str
    bits: int
    group: int
    v1: bool


@dataclass(frozen=True)
class Grouped:
    """A quantised linear. `parts` by the last word of their names; `tensor` is what the checkpoint shows of it."""

    tensor: Tensor
    quantization: Quantization
    parts: Mapping[str, Stored]

    def assemble(self, read: Read) -> Bytes:
        """The blocks of the weight, row after row: u8 [N * row_bytes]."""
        scales = read(self.parts["scales"]).view("<f2").reshape(self.parts["scales"].shape).T
        has_zeros = isinstance(self.tensor.format, BlockFormat) and self.tensor.format.min is not None
        zeros = _zeros(self.parts, self.quantization, read).T if has_zeros else None
        return blocks(self.tensor, scales, zeros, lambda lo, hi: _codes(self, read, lo, hi))


@dataclass(frozen=True)
class Columns:
    """Which column of a weight each stored column is, those of a group side by side: i32 [K]."""

    tensor: Tensor
    parts: Mapping[str, Stored]

    def assemble(self, read: Read) -> Bytes:
        return _order(read(self.parts["g_idx"])).view(np.uint8)


def read_quantization(config: Any, beside: Mapping[str, Any]) -> Quantization:
    """What quantization_config says; `beside` is quantize_config.json, which must not say something else.

    Raises MalformedFileError or UnsupportedModelError naming the key.
    """
    if not isinstance(config, dict):
        raise MalformedFileError(f"{CONFIG} is {json_kind(config)}, expected an object")
    method = config.get("quant_method")
    if method not in ("gptq", "awq"):
        hint = "llmc compiles F32, F16, BF16, GPTQ, AWQ and compressed-tensors directories, and GGUF files"
        raise UnsupportedModelError(f"{CONFIG} quant_method is {quoted(str(method))}, which llmc cannot compile", hint=hint)
    for key in ("bits", "group_size"):
        if key in beside and beside[key] != config.get(key):
            raise MalformedFileError(f"{BESIDE}: {key} is {beside[key]!r:.30}, but {CONFIG} says {config.get(key)!r:.30}")
    return Quantization(method, _bits(config, method), _group(config), _is_v1(config, method))


def _bits(config: Mapping[str, Any], method: str) -> int:
    bits, known = config.get("bits"), BITS if method == "gptq" else (4,)
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in known:
        raise MalformedFileError(f"{CONFIG} bits is {bits!r:.30}, expected {' or '.join(map(str, known))} for {method}")
    return bits


def _group(config: Mapping[str, Any]) -> int:
    group = config.get("group_size")
    if isinstance(group, bool) or not isinstance(group, int) or not (group == -1 or (0 < group <= MAX_GROUP)):
        raise MalformedFileError(f"{CONFIG} group_size is {group!r:.30}, expected -1 or 1 to {MAX_GROUP}")
    if group % UNIT and group != -1:
        raise UnsupportedModelError(f"{CONFIG} group_size is {group}; llmc compiles -1 and multiples of {UNIT}")
    return group


def _is_v1(config: Mapping[str, Any], method: str) -> bool:
    """Which layout the tensors have. Raises for those llmc does not read."""
    if config.get("dynamic"):
        raise UnsupportedModelError(f"{CONFIG} dynamic has rules for single modules, which llmc cannot compile yet")
    if method == "awq":
        version = str(config.get("version", config.get("format", "gemm"))).lower()
        if version != "gemm":
            raise UnsupportedModelError(f"{CONFIG} version is {quoted(version)}; llmc reads AWQ's gemm layout")
        return False
    layout = config.get("checkpoint_format", config.get("format", "gptq"))
    if layout not in ("gptq", "gptq_v2"):
        raise UnsupportedModelError(f"{CONFIG} checkpoint_format is {quoted(str(layout))}; llmc reads gptq and gptq_v2")
    return bool(layout == "gptq")


def find_linears(stored: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """Quantised linears: name of the module -> its parts. Raises MalformedFileError where a part is missing or too much."""
    names = [name.removesuffix(".qweight") for name in stored if name.endswith(".qweight")]
    found: dict[str, dict[str, Stored]] = {}
    for name in names:
        found[name] = {part: stored[f"{name}.{part}"] for part in PARTS if f"{name}.{part}" in stored}
        missing = [part for part in ("qzeros", "scales") if part not in found[name]]
        if missing:
            raise MalformedFileError(f"tensor {name}.{missing[0]} is missing beside {name}.qweight")
        if f"{name}.weight" in stored:
            raise MalformedFileError(f"tensors {name}.weight and {name}.qweight are both there")
    return found


def understand(name: str, parts: Mapping[str, Stored], q: Quantization, read: Read) -> Grouped:
    """One linear: its shapes agree with each other and with the config. Raises naming the tensor."""
    for part, stored in parts.items():
        if stored.dtype != DTYPES[part] or len(stored.shape) != (1 if part == "g_idx" else 2):
            what = f"{stored.dtype} {list(stored.shape)}"
            raise MalformedFileError(f"tensor {stored.name} is {what}, expected {DTYPES[part]} as {q.method} has it")
    words, columns = parts["qweight"].shape
    n, k = (columns, words * 32 // q.bits) if q.method == "gptq" else (columns * 8, words)
    group = k if q.group == -1 else q.group
    _check_shapes(name, parts, q, n, k, group)
    if "g_idx" in parts:
        _check_groups(parts["g_idx"], read(parts["g_idx"]).view("<i4"), group)
    order = f"{name}.g_idx" if "g_idx" in parts and not _in_order(read(parts["g_idx"])) else None
    if order and q.method != "gptq":
        raise MalformedFileError(f"tensor {order} puts columns in another order, which {q.method} has not")
    zeros = _zeros(parts, q, read)
    if zeros.max(initial=0) > 255:
        raise UnsupportedModelError(f"tensor {name}.qzeros holds the zero point 256 of 8-bit codes, which llmc cannot compile")
    fmt = group_format(q.bits, min(group & -group, MAX_BLOCK), bool((zeros != 1 << (q.bits - 1)).any()))
    weight = parts["qweight"]
    tensor = Tensor(f"{name}.weight", fmt, (n, k), weight.file, weight.offset, n * fmt.row_bytes(k), order)
    return Grouped(tensor, q, parts)


def _check_shapes(name: str, parts: Mapping[str, Stored], q: Quantization, n: int, k: int, group: int) -> None:
    implied = f"[{n}, {k}] that quantization_config bits {q.bits} implies"
    if n == 0 or k == 0 or k % UNIT or (n * q.bits) % 32:
        raise MalformedFileError(f"tensor {name}.qweight has shape {list(parts['qweight'].shape)}: no weight {implied}")
    if "g_idx" in parts and parts["g_idx"].shape != (k,):
        raise MalformedFileError(f"tensor {name}.g_idx has {parts['g_idx'].shape[0]} elements, not one a column of {implied}")
    if k % group:
        raise UnsupportedModelError(f"tensor {name}.qweight: quantization_config group_size {group} does not divide {k} columns")
    expected = {"scales": (k // group, n), "qzeros": (k // group, n * q.bits // 32)}
    for part, shape in expected.items():
        if parts[part].shape != shape:
            what = f"tensor {name}.{part} has shape {list(parts[part].shape)}"
            raise MalformedFileError(f"{what}, expected {list(shape)} for {implied}")


def _check_groups(stored: Stored, groups: NDArray[np.int32], group: int) -> None:
    """g_idx gives the group of each column, as many to each."""
    count = len(groups) // group
    outside = np.flatnonzero((groups < 0) | (groups >= count))
    if outside.size:
        what = f"tensor {stored.name} holds {groups[outside[0]]} at {outside[0]}"
        raise MalformedFileError(f"{what}, expected groups 0 to {count - 1}")
    sizes = np.bincount(groups, minlength=count)
    uneven = np.flatnonzero(sizes != group)
    if uneven.size:
        what = f"tensor {stored.name} puts {sizes[uneven[0]]} columns in group {uneven[0]}"
        raise MalformedFileError(f"{what}, expected {group} as quantization_config group_size says")


def _in_order(g_idx: Bytes) -> bool:
    groups = g_idx.view("<i4")
    return bool((groups[1:] >= groups[:-1]).all())


def _order(g_idx: Bytes) -> NDArray[np.int32]:
    """The columns group by group, those of a group ascending."""
    return np.argsort(g_idx.view("<i4"), kind="stable").astype("<i4")


def orders(linears: Iterable[Grouped], read: Read) -> dict[str, Grouped | Columns]:
    """The linears whose columns are not in order, and these orders; linears with the same share one. By tensor name."""
    found: dict[str, Grouped | Columns] = {}
    names: dict[bytes, str] = {}
    for g in (g for g in linears if g.tensor.columns is not None):
        stored = g.parts["g_idx"]
        name = names.setdefault(bytes(read(stored)), stored.name)
        if name == stored.name:
            tensor = Tensor(name, INDICES, stored.shape, stored.file, stored.offset, stored.nbytes)
            found[name] = Columns(tensor, {"g_idx": stored})
        found[g.tensor.name] = replace(g, tensor=replace(g.tensor, columns=name))
    return found


def _zeros(parts: Mapping[str, Stored], q: Quantization, read: Read) -> NDArray[np.uint16]:
    """Zero points u16 [G, N]."""
    packed = read(parts["qzeros"]).reshape(parts["qzeros"].shape[0], -1)
    if q.method == "awq":
        return _awq_columns(packed.view("<u4")).astype(np.uint16)
    return stream(packed, q.bits).astype(np.uint16) + np.uint16(q.v1)


def stream(packed: Bytes, bits: int) -> Bytes:
    """u8 [rows, bytes], codes one after the other from the low bits up -> u8 [rows, codes]."""
    digits = np.unpackbits(packed, axis=1, bitorder="little").reshape(len(packed), -1, bits)
    return np.packbits(digits, axis=2, bitorder="little")[:, :, 0]


def packed_stream(codes: Bytes, bits: int) -> Bytes:
    """What `stream` reads: u8 [rows, codes] -> u8 [rows, bytes]."""
    digits = np.unpackbits(codes[:, :, None], axis=2, bitorder="little", count=bits)
    return np.packbits(digits.reshape(len(codes), -1), axis=1, bitorder="little")


def _awq_columns(words: NDArray[np.uint32]) -> Bytes:
    """u32 [rows, N/8] -> u8 [rows, N]."""
    columns = np.empty((*words.shape, 8), np.uint8)
    for i, column in enumerate(AWQ_COLUMNS):
        columns[:, :, column] = (words >> np.uint32(4 * i)) & np.uint32(15)
    return columns.reshape(len(words), -1)


def blocks(
    tensor: Tensor, scales: NDArray[np.float16], zeros: NDArray[np.uint16] | None, codes: Callable[[int, int], Bytes]
) -> Bytes:
    """The blocks of a weight, row after row: u8 [N * row_bytes].

    scales and zeros [N, groups]; codes(lo, hi) are those of rows [lo, hi) as group_format stores them, in any shape.
    """
    (n, k), fmt = tensor.shape, tensor.format
    count = k // fmt.weights
    repeat = count // scales.shape[1]
    out = np.empty((n, count, fmt.row_bytes(k) // count), np.uint8)
    out[:, :, 0:2] = scales.repeat(repeat, 1)[:, :, None].view(np.uint8)
    at = 2
    if zeros is not None:
        out[:, :, 2:4] = out[:, :, 0:2]
        out[:, :, 4] = zeros.repeat(repeat, 1)
        at = 5
    for lo in range(0, n, CHUNK_ROWS):
        hi = min(lo + CHUNK_ROWS, n)
        out[lo:hi, :, at:] = codes(lo, hi).reshape(hi - lo, count, -1)
    return out.reshape(-1)


def _codes(g: Grouped, read: Read, lo: int, hi: int) -> Bytes:
    """The codes of rows [lo, hi) as group_format stores them."""
    bits, words = g.quantization.bits, read(g.parts["qweight"]).view("<u4").reshape(g.parts["qweight"].shape)
    if g.quantization.method == "awq":
        nibbles = _awq_columns(words[:, lo // 8 : hi // 8]).T.reshape(hi - lo, -1, 2)
        return nibbles[:, :, 0] | nibbles[:, :, 1] << np.uint8(4)
    packed = np.ascontiguousarray(words[:, lo:hi].T).view(np.uint8)
    if g.tensor.columns is not None:
        packed = packed_stream(stream(packed, bits)[:, _order(read(g.parts["g_idx"]))], bits)
    if bits != 3:
        return packed  # as it is
    codes = stream(packed, 3).reshape(-1, g.tensor.format.weights)
    low, high = (np.unpackbits(codes[:, :, None], axis=2, bitorder="little", count=3)[:, :, part] for part in (slice(0, 2), 2))
    planes = [np.packbits(plane.reshape(len(codes), -1), axis=1, bitorder="little") for plane in (low, high)]
    return np.concatenate(planes, axis=1)
