"""Packs weights as quantised Hugging Face checkpoints store them, element by element, from the formats' descriptions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Tensors = dict[str, NDArray[Any]]

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def gptq_words(codes: Codes, bits: int) -> NDArray[np.int32]:
    """Codes along the first axis as words, one after the other from the low bits up."""
    words = np.zeros((len(codes) * bits // 32, *codes.shape[1:]), np.uint64)
    for i, row in enumerate(codes.astype(np.uint64)):
        at, shift = divmod(i * bits, 32)
        words[at] |= row << np.uint64(shift) & np.uint64(0xFFFFFFFF)
        if shift + bits > 32:
            words[at + 1] |= row >> np.uint64(32 - shift)
    return words.astype(np.uint32).view(np.int32)


def awq_words(codes: Codes) -> NDArray[np.int32]:
    """[rows, columns] -> [rows, columns / 8]."""
    words = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for i, column in enumerate(AWQ_ORDER):
        words |= codes[:, column::8].astype(np.uint32) << np.uint32(4 * i)
    return words.view(np.int32)


def ct_words(codes: Codes, bits: int) -> NDArray[np.int32]:
    """Codes along the last axis as words of as many whole codes as fit, the first in the low bits; zeros fill the last word."""
    per = 32 // bits
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % per)))
    words = np.zeros((len(codes), padded.shape[1] // per), np.uint32)
    for i in range(per):
        words |= padded[:, i::per].astype(np.uint32) << np.uint32(bits * i)
    return words.view(np.int32)


def e4m3(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The floats that bytes stand for, one by one."""
    def value(code: int) -> float:
        exponent, mantissa = code >> 3 & 15, code & 7
        magnitude = mantissa / 8 * 2.0**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        return -magnitude if code & 128 else magnitude

    return np.array([value(code) for code in range(256)])[codes]


def e2m1(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The floats that 4 bits stand for."""
    return np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])[codes]


def bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of floats."""
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
