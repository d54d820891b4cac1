"""Weights for kernel tests: random ones with sane scales, and the ones that strain integer arithmetic most."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmc.ir.quant import E4M3, BlockFormat, Bytes, DenseFormat, E4m3, Format

DENSE = {"f16": DenseFormat("f16", 1, 2), "bf16": DenseFormat("bf16", 30, 2), "f32": DenseFormat("f32", 0, 4)}


def random_weight(fmt: Format, n: int, k: int, rng: np.random.Generator) -> Bytes:
    """W[n, k] as a checkpoint stores it, u8 flat: any codes, scales around one hundredth of either sign."""
    if fmt == E4M3:
        return rng.integers(0, 127, n * k, np.uint8) | rng.integers(0, 2, n * k, np.uint8) << np.uint8(7)  # but for NaN
    if isinstance(fmt, DenseFormat):
        return dense(fmt, rng.normal(size=n * k).astype(np.float32))
    raw = rng.integers(0, 256, (n * k // fmt.weights, fmt.nbytes), dtype=np.uint8)
    if isinstance(fmt.codes, E4m3):
        raw[raw & 127 == 127] = 0  # but for NaN
    return with_scales(fmt, raw, lambda blocks: rng.uniform(-0.01, 0.01, blocks))


def dense(fmt: DenseFormat, values: NDArray[np.float32]) -> Bytes:
    if fmt.name == "bf16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return values.astype("<f4" if fmt.name == "f32" else "<f2").view(np.uint8)


def extreme_weight(fmt: BlockFormat, n: int, k: int, byte: int) -> Bytes:
    """Every code and scale byte equal to `byte`, every factor the largest there is (2^15 as a power), its sign alternating by
    block."""
    raw = np.full((n * k // fmt.weights, fmt.nbytes), byte, np.uint8)
    return with_scales(fmt, raw, lambda blocks: np.where(np.arange(blocks) % 2, -65504.0, 65504.0))


def with_scales(fmt: BlockFormat, raw: Bytes, values: Callable[[int], NDArray[np.float64]]) -> Bytes:
    """Replaces the floats among the fields of raw u8 [blocks, nbytes] by values(blocks), the powers of two by ones as large."""
    if fmt.factor == "e8m0":
        raw[:, 0] = 128 + np.floor(np.log2(np.abs(values(len(raw)))))
    if fmt.name == "iq1_m":  # its f16 lies in the top four bits of the last four words
        halves = values(len(raw)).astype("<f2").view("<u2")
        words = raw[:, -8:].view("<u2")
        words[:] = words & 0x0FFF | (halves[:, None] >> np.arange(0, 16, 4, dtype=np.uint16) & 15) << 12
    offset = 0
    for field in fmt.layout:
        if field.dtype in DENSE:
            floats = dense(DENSE[field.dtype], values(len(raw)).astype(np.float32))
            raw[:, offset : offset + field.nbytes] = floats.reshape(-1, field.nbytes)
        offset += field.nbytes
    return raw.reshape(-1)
