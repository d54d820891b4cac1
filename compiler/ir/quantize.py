"""Quantisers: floats to the stored numbers of a format. They read the format's facts, so one function serves a family of formats.

Arithmetic is that of IEEE 754 one operation at a time (sums too: weights of a block lie apart, blocks side by side), so that the
same floats give the same bytes on any machine. What ggml computes block by block without a search is computed as it does; where
ggml searches for the scales of K-quants, a shorter search is made here for the least squared error, all weights alike.

Reference: ggml/src/ggml-quants.c, quantize_row_*_ref, make_qx_quants, make_qkx2_quants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmc.ir.quant import BlockFormat, Bytes, DenseFormat, Format, Parts

F32 = NDArray[np.float32]

NAMES: Final = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k")
"""The formats that floats can be stored in."""

_STRETCHES: Final = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
"""What the highest level is tried to be moved by, so that fewer weights are far from a level and some are clipped."""


def encode(fmt: DenseFormat, values: F32) -> Bytes:
    """f32 [n] -> the bytes of f16 or bf16, rounded to nearest, ties to even. Other formats raise ValueError."""
    with np.errstate(over="ignore", invalid="ignore"):
        if fmt.name == "f16":
            return values.astype("<f2").view(np.uint8)
    if fmt.name != "bf16":
        raise ValueError(f"no quantiser makes {fmt.name}")
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) >> np.uint32(16)
    quiet = bits >> np.uint32(16) | np.uint32(64)  # a NaN stays one
    return np.where(np.isnan(values), quiet, rounded).astype("<u2").view(np.uint8)


def quantize(fmt: BlockFormat, values: F32) -> Parts:
    """f32 [n], whole blocks -> their parts. Raises ValueError for a format that no quantiser makes."""
    if fmt.name not in NAMES:
        raise ValueError(f"no quantiser makes {fmt.name}")
    with np.errstate(all="ignore"):  # infinities and NaN go where arithmetic takes them
        return _quantiser(fmt)(fmt, np.ascontiguousarray(values.reshape(-1, fmt.group).T))


def _quantiser(fmt: BlockFormat) -> Callable[[BlockFormat, F32], Parts]:
    """The function for a family of formats: it takes weights f32 [group, groups]."""
    if fmt.scale is None:
        return _affine if fmt.min else _rounded if fmt.codes.bits == 8 else _offset
    return _with_mins if fmt.min else _with_scales


def can_make(fmt: Format) -> bool:
    return fmt.name in NAMES


# One scale for a block -------------------------------------------------------------------------------------------------


def _rounded(fmt: BlockFormat, x: F32) -> Parts:
    """Q8_0: codes are rounded, halves away from zero."""
    d = np.abs(x).max(axis=0) / np.float32(127)
    scaled = x * _inverse(d)
    magnitude: F32 = np.abs(scaled)
    whole: F32 = np.floor(magnitude)
    whole += np.floor((magnitude - whole) * np.float32(2))
    return Parts(codes=_codes(fmt, np.copysign(whole, scaled) + np.float32(fmt.codes.offset)), d=d.astype("<f2"))


def _offset(fmt: BlockFormat, x: F32) -> Parts:
    """Q4_0, Q5_0: the weight of the largest magnitude is the lowest level."""
    d = _largest(x) / np.float32(-fmt.codes.offset)
    levels = np.trunc(x.astype(np.float64) * _inverse(d) + (fmt.codes.offset + 0.5))
    return Parts(codes=_codes(fmt, levels), d=d.astype("<f2"))


def _affine(fmt: BlockFormat, x: F32) -> Parts:
    """Q4_1, Q5_1: levels from the least weight to the greatest."""
    low = x.min(axis=0)
    d = (x.max(axis=0) - low) / np.float32((1 << fmt.codes.bits) - 1)
    levels = np.trunc((x - low).astype(np.float64) * _inverse(d) + 0.5)
    return Parts(codes=_codes(fmt, levels), d=d.astype("<f2"), dmin=low.astype("<f2"))


def _inverse(d: F32) -> F32:
    """1 / d, 0 where d is."""
    inverse: F32 = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    return inverse


def _largest(x: F32) -> F32:
    """The number of the largest magnitude in each column of x [n, m], the first of equals: f32 [m]."""
    largest: F32 = x[0].copy()
    magnitude = np.abs(largest)
    for row in x[1:]:
        larger = np.abs(row) > magnitude
        np.copyto(largest, row, where=larger)
        np.copyto(magnitude, np.abs(row), where=larger)
    return largest


def _codes(fmt: BlockFormat, levels: NDArray[Any]) -> Bytes:
    """Levels [group, groups] as codes u8 [blocks, weights], those beyond the range as its ends; NaN as any."""
    clipped = np.clip(np.nan_to_num(levels, copy=False), 0, (1 << fmt.codes.bits) - 1).astype(np.uint8)
    return np.ascontiguousarray(clipped.T).reshape(-1, fmt.weights)


# Scales of groups are quantised too --------------------------------------------------------------------------------------


def _with_scales(fmt: BlockFormat, x: F32) -> Parts:
    """Q3_K, Q6_K: levels around zero."""
    assert fmt.scale is not None
    half = fmt.codes.offset
    scales = _fit_around_zero(x, half).reshape(-1, fmt.groups)
    steps = 1 << (fmt.scale.bits - 1)
    d = (_largest(np.ascontiguousarray(scales.T)) / np.float32(-steps)).astype("<f2")
    inverse = _inverse(d.astype(np.float32))
    codes = np.clip(np.rint(scales * inverse[:, None]), -steps, steps - 1)
    scale = (d.astype(np.float32)[:, None] * codes.astype(np.float32)).reshape(-1)
    levels = np.rint(x * _inverse(scale)) + np.float32(half)
    return Parts(codes=_codes(fmt, levels), d=d, scale=_unsigned(codes + steps))


def _with_mins(fmt: BlockFormat, x: F32) -> Parts:
    """Q2_K, Q4_K, Q5_K: levels from a min of the group up; mins are at most zero."""
    assert fmt.scale is not None and fmt.min is not None
    fitted, lows = _fit_above_min(x, (1 << fmt.codes.bits) - 1)
    steps = np.float32((1 << fmt.scale.bits) - 1)
    d, scale_codes, scale = _shared(fitted.reshape(-1, fmt.groups), steps)
    dmin, min_codes, low = _shared(-lows.reshape(-1, fmt.groups), steps)
    levels = np.rint((x + low) * _inverse(scale))
    return Parts(codes=_codes(fmt, levels), d=d, scale=scale_codes, dmin=dmin, min=min_codes)


def _shared(values: F32, steps: np.float32) -> tuple[NDArray[np.float16], Bytes, F32]:
    """Numbers f32 [blocks, groups], none below zero, as a factor of each block and codes of 0 to `steps`: (f16 [blocks],
    u8 [blocks, groups], the numbers these stand for, f32 [groups of all blocks])."""
    d = (values.max(axis=1) / steps).astype("<f2")
    wide = d.astype(np.float32)[:, None]
    codes = np.clip(np.rint(values * _inverse(wide)), 0, steps)
    return d, _unsigned(codes), (wide * codes.astype(np.float32)).reshape(-1)


def _unsigned(codes: NDArray[Any]) -> Bytes:
    stored: Bytes = np.nan_to_num(codes).astype(np.uint8)
    return stored


def _fit_around_zero(x: F32, half: int) -> F32:
    """The scale of each column of x [n, m] for which levels -half to half - 1 leave the least squared error: f32 [m].

    For given levels l the best scale is sum(x l) / sum(l l), and what it explains of sum(x x) is sum(x l)^2 / sum(l l).
    """
    largest = _largest(x)
    best, explained = np.zeros_like(largest), np.full_like(largest, -1)
    levels, product = np.empty_like(x), np.empty_like(x)
    for stretch in _STRETCHES:
        np.multiply(x, np.float32(-(half + stretch)) * _inverse(largest), out=levels)
        np.rint(levels, out=levels)
        np.clip(levels, -half, half - 1, out=levels)
        xl = np.multiply(x, levels, out=product).sum(axis=0)
        ll = np.multiply(levels, levels, out=product).sum(axis=0)
        scale = xl * _inverse(ll)
        better = scale * xl > explained
        np.copyto(best, scale, where=better)
        np.copyto(explained, scale * xl, where=better)
    return best


def _fit_above_min(x: F32, top: int) -> tuple[F32, F32]:
    """(scale, min) of each column of x [n, m] for which levels 0 to `top` leave the least squared error; the min is at most
    zero: f32 [m] each. For given levels both are the solution of two linear equations.
    """
    low = np.minimum(x.min(axis=0), np.float32(0))
    span = x.max(axis=0) - low
    n, sx, xx = np.float32(len(x)), x.sum(axis=0), (x * x).sum(axis=0)
    best_scale, best_low, least = np.zeros_like(low), low.copy(), np.full_like(low, np.inf)
    levels, product = np.empty_like(x), np.empty_like(x)
    for stretch in _STRETCHES:
        factor = np.float32(top + stretch) * _inverse(span)
        np.multiply(x, factor, out=levels)
        np.subtract(levels, low * factor, out=levels)
        np.rint(levels, out=levels)
        np.clip(levels, 0, top, out=levels)
        sl = levels.sum(axis=0)
        xl = np.multiply(x, levels, out=product).sum(axis=0)
        ll = np.multiply(levels, levels, out=product).sum(axis=0)
        scale, offset = _line(n, sx, sl, ll, xl)
        error = xx + scale * (scale * ll - 2 * xl) + offset * (2 * scale * sl + n * offset - 2 * sx)
        better = error < least
        np.copyto(best_scale, scale, where=better)
        np.copyto(best_low, offset, where=better)
        np.copyto(least, error, where=better)
    return best_scale, best_low


def _line(n: np.float32, sx: F32, sl: F32, ll: F32, xl: F32) -> tuple[F32, F32]:
    """(a, b) of the line a l + b nearest to x, b at most zero, from n and the sums of x, l, l l and x l."""
    inverse = _inverse(n * ll - sl * sl)
    scale, offset = (n * xl - sx * sl) * inverse, (ll * sx - sl * xl) * inverse
    above = (offset > 0) | (inverse == 0)
    level = np.where(ll == 0, np.minimum(sx / n, 0), np.float32(0))  # of weights that all have the lowest level
    return np.maximum(np.where(above, xl * _inverse(ll), scale), 0), np.where(above, level, offset)
