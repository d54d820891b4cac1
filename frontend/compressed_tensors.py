"""compressed-tensors in safetensors: linears of integers, packed (`pack-quantized`) or as bytes (`int-quantized`), or of floats
of 8 bits (`float-quantized`) or 4 (`nvfp4-pack-quantized`, `mxfp4-pack-quantized`).

For a weight [N, K] with B-bit integers that count from the middle of their range:
    pack-quantized  weight_packed i32 [N, ceil(K/P)], P = floor(32/B) codes to a word, low bits first; weight_shape = (N, K);
                    if not symmetric, weight_zero_point i32 [ceil(N/P), G], packed down each column, or i8 [N, G];
                    weight_g_idx i32 [K], the group of each column, where they were reordered
    int-quantized   weight i8 [N, K]; if not symmetric, weight_zero_point i8 [N, G]
    float-quantized weight e4m3 [N, K]
    nvfp4           weight_packed u8 [N, K/2], the first of two columns in the low bits; weight_scale e4m3 [N, K/16];
                    weight_global_scale f32 [1], by which scales are divided
    mxfp4           weight_packed as nvfp4 has it; weight_scale u8 [N, K/32], powers of two
and weight_scale, one for the tensor, for each row, group of columns or block. What the config says of activations and of the
cache is not followed: `--activations` says how llmc computes, and the cache keeps what was computed.

Reference: https://github.com/vllm-project/compressed-tensors, compressors/quantized_compressors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.frontend.compressed_tensors_config import Scheme, read_schemes
from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import NVFP4_GROUP, group_format, nvfp4_format
from llmc.frontend.quantized import (
    CONFIG,
    UNIT,
    Groups,
    Linear,
    Read,
    Source,
    block_width,
    check_groups,
    factor_of,
    is_ascending,
    order_of,
    packed_stream,
    with_orders,
    write_blocks,
    write_groups,
)
from llmc.frontend.safetensors import Stored
from llmc.frontend.scales import Over, check_scales, float8_linear, spread
from llmc.ir.quant import BlockFormat

DTYPES: Final = {"pack-quantized": "I32", "nvfp4-pack-quantized": "U8", "mxfp4-pack-quantized": "U8"}
BYTES: Final = {"int": "I8", "float": "F8_E4M3"}  # where weights are not packed
PARTS: Final = ("weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale")
ACTIVATIONS: Final = ("input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point")
NAN: Final = 0x7F  # of e4m3; more is negative

Parts = Mapping[str, Stored]


def read_linears(source: Source) -> dict[str, Linear]:
    """The quantised linears by the name of their weight, factors of rows, and orders of columns.

    Raises MalformedFileError or UnsupportedModelError naming the key or the tensor.
    """
    schemes, stored = read_schemes(source.config), source.stored
    found: dict[str, Linear] = {}
    for name, mark in _find(stored):
        scheme = schemes.of(name)
        if scheme is None:
            raise MalformedFileError(f"tensor {name}.{mark} is quantised, but no group of {CONFIG} config_groups has it")
        parts = {part: stored[f"{name}.{part}"] for part in (mark, *PARTS, *ACTIVATIONS) if f"{name}.{part}" in stored}
        found |= _understand(name, parts, scheme, source.read)
    return with_orders(found.values(), "weight_g_idx", source.read)


def _find(stored: Mapping[str, Stored]) -> list[tuple[str, str]]:
    """(module, the part that holds its codes) of the linears that are quantised."""
    packed = [(name.removesuffix(".weight_packed"), "weight_packed") for name in stored if name.endswith(".weight_packed")]
    both = next((name for name, _ in packed if f"{name}.weight" in stored), None)
    if both:
        raise MalformedFileError(f"tensors {both}.weight and {both}.weight_packed are both there")
    codes = (name for name, t in stored.items() if name.endswith(".weight") and t.dtype in BYTES.values())
    return packed + [(name.removesuffix(".weight"), "weight") for name in codes]


def _understand(name: str, parts: Parts, s: Scheme, read: Read) -> dict[str, Linear]:
    """One linear: its shapes agree with each other and with its scheme."""
    mark = "weight_packed" if s.format in DTYPES else "weight"
    wanted = [mark, "weight_scale", *(["weight_shape"] if s.format == "pack-quantized" else [])]
    wanted += ["weight_global_scale"] if s.format.startswith("nvfp4") else []
    wanted += [] if s.symmetric else ["weight_zero_point"]
    missing = [part for part in wanted if part not in parts]
    if missing:
        raise MalformedFileError(f"tensor {name}.{missing[0]} is missing, which {s.format} needs")
    codes, dtype = parts[mark], DTYPES.get(s.format, BYTES[s.kind])
    if len(codes.shape) != 2 or codes.dtype != dtype or 0 in codes.shape:
        raise MalformedFileError(f"tensor {codes.name} is {codes.dtype} {list(codes.shape)}, which is not {s.format}")
    if s.symmetric and "weight_zero_point" in parts and read(parts["weight_zero_point"]).any():
        raise MalformedFileError(f"tensor {name}.weight_zero_point holds other values than 0, but weights are symmetric")
    if s.kind == "float" and mark == "weight":
        return float8_linear(name, parts, "weight_scale", _over(s, *codes.shape))
    if s.kind == "float":
        return {f"{name}.weight": _float4(name, parts, s, read)}
    return {f"{name}.weight": _integers(name, parts, s, read)}


def _over(s: Scheme, n: int, k: int) -> Over:
    return Over(n if s.rows == -1 else s.rows, k if s.columns == -1 else s.columns)


# Integers --------------------------------------------------------------------------------------------------------------


def _integers(name: str, parts: Parts, s: Scheme, read: Read) -> Linear:
    packed = s.format == "pack-quantized"
    codes = parts["weight_packed" if packed else "weight"]
    n, k = codes.shape
    if packed:
        k = _columns_of(name, parts["weight_shape"], codes, 32 // s.bits, read)
    over = _over(s, n, k)
    if k % UNIT or k % over.columns:
        raise UnsupportedModelError(f"tensor {codes.name}: {k} columns in groups of {over.columns}, which llmc cannot compile")
    check_scales(parts["weight_scale"], over, n, k)
    if "weight_zero_point" in parts:
        _check_zeros(parts["weight_zero_point"], s, over, n, k)
    order = _order(parts, over, k, read)
    fmt = group_format(s.bits, block_width(over.columns, k), not s.symmetric, factor_of(parts["weight_scale"]))
    tensor = Tensor(f"{name}.weight", fmt, (n, k), codes.file, codes.offset, n * fmt.row_bytes(k), order)

    def build(read: Read) -> Bytes:
        stream = _words(codes, s.bits, k, read) if packed else _signed(codes, s.bits, read)
        zeros = None if s.symmetric else _zeros(parts["weight_zero_point"], s.bits, over, n, read)
        columns = order_of(read(parts["weight_g_idx"]).view("<i4")) if order else None
        scales = spread(parts["weight_scale"], over, n, read)
        return write_groups(fmt, n, k, Groups(s.bits, over.columns, scales, zeros, stream, columns))

    return Linear(tensor, parts, build)


def _columns_of(name: str, shape: Stored, codes: Stored, per_word: int, read: Read) -> int:
    """K, as weight_shape has it; the words hold as many codes."""
    n, words = codes.shape
    if (shape.dtype, shape.shape) != ("I64", (2,)):
        raise MalformedFileError(f"tensor {name}.weight_shape is {shape.dtype} {list(shape.shape)}, expected I64 [2]")
    rows, k = map(int, read(shape).view("<i8"))
    if rows != n or -(-k // per_word) != words:
        expected = f"[{n}, {(words - 1) * per_word + 1} to {words * per_word}]"
        raise MalformedFileError(f"tensor {name}.weight_shape is not {expected}, the shape of {codes.name}, but [{rows}, {k}]")
    return k


def _order(parts: Parts, over: Over, k: int, read: Read) -> str | None:
    """The name of the order of columns; None where they are as they were. (-1 stands where none was made.)"""
    stored = parts.get("weight_g_idx")
    if stored is None:
        return None
    if stored.dtype != "I32" or stored.shape != (k,):
        raise MalformedFileError(f"tensor {stored.name} is {stored.dtype} {list(stored.shape)}, expected I32 [{k}]")
    groups = read(stored).view("<i4")
    if (groups == -1).all():
        return None
    check_groups(stored, groups, over.columns)
    return None if is_ascending(groups) else stored.name


def _words(codes: Stored, bits: int, k: int, read: Read) -> Callable[[int, int], Bytes]:
    """Rows of packed codes as a stream without gaps."""
    words = read(codes).view("<u4").reshape(codes.shape)

    def stream(lo: int, hi: int) -> Bytes:
        if 32 % bits == 0:
            return words[lo:hi].view(np.uint8)[:, : k * bits // 8]
        return packed_stream(_unpacked(words[lo:hi], bits)[:, :k], bits)

    return stream


def _unpacked(words: NDArray[np.uint32], bits: int) -> Bytes:
    """u32 [rows, words] -> u8 [rows, words * floor(32 / bits)]."""
    shifts = np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits)
    codes = (words[:, :, None] >> shifts & np.uint32((1 << bits) - 1)).astype(np.uint8)
    return codes.reshape(len(words), -1)


def _signed(codes: Stored, bits: int, read: Read) -> Callable[[int, int], Bytes]:
    """Rows of bytes as a stream of unsigned codes. Raises MalformedFileError where a byte has more than `bits` bits."""
    values, half = read(codes).reshape(codes.shape), 1 << (bits - 1)

    def stream(lo: int, hi: int) -> Bytes:
        raised = values[lo:hi] + np.uint8(half)
        if bits < 8 and raised.max(initial=0) >> bits:
            raise MalformedFileError(f"tensor {codes.name} holds codes outside {-half} to {half - 1}")
        return packed_stream(raised, bits) if bits < 8 else raised

    return stream


def _check_zeros(stored: Stored, s: Scheme, over: Over, n: int, k: int) -> None:
    grid = (-(-n // over.rows), k // over.columns)
    per_word = 32 // s.bits
    known = {"I8": grid, "I32": (-(-grid[0] // per_word), grid[1])}
    if known.get(stored.dtype) != stored.shape and not (stored.dtype == "I8" and grid[1] == 1 and stored.shape == grid[:1]):
        what = f"tensor {stored.name} is {stored.dtype} {list(stored.shape)}"
        raise MalformedFileError(f"{what}, expected " + " or ".join(f"{dtype} {[*shape]}" for dtype, shape in known.items()))


def _zeros(stored: Stored, bits: int, over: Over, n: int, read: Read) -> Bytes:
    """Zero points u8 [N, G], counted as the codes are."""
    rows = -(-n // over.rows)
    if stored.dtype == "I8":
        zeros = (read(stored) + np.uint8(1 << (bits - 1))).reshape(rows, -1)
    else:
        words = np.ascontiguousarray(read(stored).view("<u4").reshape(stored.shape).T)
        zeros = _unpacked(words, bits)[:, :rows].T
    return zeros.repeat(min(over.rows, n), axis=0)[:n]


# Floats of 4 bits ------------------------------------------------------------------------------------------------------


def _float4(name: str, parts: Parts, s: Scheme, read: Read) -> Linear:
    codes, scale = parts["weight_packed"], parts["weight_scale"]
    n, k = codes.shape[0], codes.shape[1] * 2
    nvfp4 = s.format.startswith("nvfp4")
    if k % UNIT:
        raise UnsupportedModelError(f"tensor {codes.name} has {k} columns; llmc compiles multiples of {UNIT}")
    if (scale.dtype, scale.shape) != ("F8_E4M3" if nvfp4 else "U8", (n, k // s.columns)):
        what = f"tensor {scale.name} is {scale.dtype} {list(scale.shape)}"
        raise MalformedFileError(f"{what}, expected {'F8_E4M3' if nvfp4 else 'U8'} [{n}, {k // s.columns}]")
    factor = _global_scale(parts["weight_global_scale"], read) if nvfp4 else np.float32(1)
    if nvfp4 and read(scale).max(initial=0) >= NAN:
        raise MalformedFileError(f"tensor {scale.name} holds a scale that is negative or no number")
    fmt = nvfp4_format(block_width(k, k)) if nvfp4 else FORMATS["mxfp4"]
    assert isinstance(fmt, BlockFormat)

    def build(read: Read) -> Bytes:
        pairs, scales = read(codes).reshape(codes.shape), read(scale).reshape(scale.shape)
        if not nvfp4:
            return write_blocks(fmt, n, k, s.columns, [scales], lambda lo, hi: _halves(pairs[lo:hi]))
        groups = fmt.weights // NVFP4_GROUP

        def block(lo: int, hi: int) -> Bytes:
            by_block = [part[lo:hi].reshape(-1, size) for part, size in ((scales, groups), (pairs, fmt.weights // 2))]
            return np.concatenate(by_block, axis=1)

        return write_blocks(fmt, n, k, k, [np.full((n, 1), factor)], block)

    return Linear(Tensor(f"{name}.weight", fmt, (n, k), codes.file, codes.offset, n * fmt.row_bytes(k)), parts, build)


def _global_scale(stored: Stored, read: Read) -> np.float32:
    """The factor of a tensor's scales, f32."""
    if stored.dtype != "F32" or stored.shape not in ((), (1,)):
        raise MalformedFileError(f"tensor {stored.name} is {stored.dtype} {list(stored.shape)}, expected F32 [1]")
    value = np.float32(read(stored).view("<f4")[0])
    if not (np.isfinite(value) and value > 0):
        raise MalformedFileError(f"tensor {stored.name} is {value}, expected a positive number")
    return np.float32(np.float32(1) / value)


def _halves(pairs: Bytes) -> Bytes:
    """Two columns to a byte -> blocks of 32 whose low bits hold the first 16 columns: u8 [rows, K / 2], both."""
    codes = np.stack([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=2).reshape(len(pairs), -1, 2, 16)
    halves: Bytes = codes[:, :, 0] | codes[:, :, 1] << np.uint8(4)
    return halves.reshape(len(pairs), -1)
