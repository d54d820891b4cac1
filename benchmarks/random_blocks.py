"""Random weights of a wanted standard deviation, written directly as the bytes of a storage format.

Codes are uniform random bytes; scales are chosen so that the weights have about zero mean and the standard deviation asked for,
varied by up to a tenth per block. A pool of blocks is made once per format and deviation, and tensors are copies from seeded
offsets in it, so models are written at about the speed of memory.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
POOL_WEIGHTS = 1 << 23
U3_STD, U4_STD, U5_STD, U6_STD, I8_STD = 2.29, 4.61, 9.23, 18.47, 73.9  # of uniform codes of 3, 4, 5, 6 and 8 bits
IQ4_STD, MXFP4_STD = 69.4, 5.98  # of uniform codes' levels


@dataclass(frozen=True)
class Storage:
    """A GGUF storage type: `weights` weights in `nbytes` bytes, and how to make n random blocks of it."""

    name: str
    ggml_type: int
    weights: int
    nbytes: int
    make: Callable[[np.random.Generator, int, float], Bytes]

    def row_bytes(self, columns: int) -> int:
        assert columns % self.weights == 0, (self.name, columns)
        return columns // self.weights * self.nbytes


def _half(values: npt.ArrayLike) -> Bytes:
    """f16 values as bytes [..., 2]."""
    return np.ascontiguousarray(values, np.float16)[..., None].view(np.uint8)


def _scales(rng: np.random.Generator, n: int, mean: float) -> npt.NDArray[np.float32]:
    return (mean * rng.uniform(0.9, 1.1, n)).astype(np.float32)


def _f16(rng: np.random.Generator, n: int, std: float) -> Bytes:
    return _half(rng.standard_normal(n, np.float32) * np.float32(std))


def _q4_0(rng: np.random.Generator, n: int, std: float) -> Bytes:
    return np.hstack([_half(_scales(rng, n, std / U4_STD)), rng.integers(0, 256, (n, 16), np.uint8)])


def _q5_0(rng: np.random.Generator, n: int, std: float) -> Bytes:
    return np.hstack([_half(_scales(rng, n, std / U5_STD)), rng.integers(0, 256, (n, 20), np.uint8)])


def _q8_0(rng: np.random.Generator, n: int, std: float) -> Bytes:
    return np.hstack([_half(_scales(rng, n, std / I8_STD)), rng.integers(0, 256, (n, 32), np.uint8)])


def _q4_k(rng: np.random.Generator, n: int, std: float) -> Bytes:
    """w = d * s * q - dmin * m with m = s and dmin = 7.5 d: zero mean. s is 6 bits wide, 40 to 60."""
    s = rng.integers(40, 61, (n, 8), np.uint8)
    d = _scales(rng, n, std / (U4_STD * 50))
    low = s[:, :4] | (s[:, 4:] >> 4 << 6)  # scales of groups 0-3, and the top two bits of those of groups 4-7
    packed = [low, low, (s[:, 4:] & 15) * np.uint8(17)]  # then mins in the same way, then both low nibbles
    return np.hstack([_half(d), _half(7.5 * d), *packed, rng.integers(0, 256, (n, 128), np.uint8)])


def _q3_k(rng: np.random.Generator, n: int, std: float) -> Bytes:
    """Scales are 6 bits wide around 32: all are 32 + 16 to 31, whose top two bits are 3."""
    low = rng.integers(0, 256, (n, 8), np.uint8)
    packed = np.hstack([low, np.full((n, 4), 0xFF, np.uint8)])
    codes = rng.integers(0, 256, (n, 96), np.uint8)
    return np.hstack([codes, packed, _half(_scales(rng, n, std / (U3_STD * 24)))])


def _iq4_xs(rng: np.random.Generator, n: int, std: float) -> Bytes:
    """As _q3_k has its scales: the top two bits of all eight are 3."""
    d = _half(_scales(rng, n, std / (IQ4_STD * 24)))
    return np.hstack([d, np.full((n, 2), 0xFF, np.uint8), rng.integers(0, 256, (n, 132), np.uint8)])


def _mxfp4(rng: np.random.Generator, n: int, std: float) -> Bytes:
    """One power of two for all, the nearest."""
    exponent = np.full((n, 1), 128 + round(math.log2(std / MXFP4_STD)), np.uint8)
    return np.hstack([exponent, rng.integers(0, 256, (n, 16), np.uint8)])


def _q6_k(rng: np.random.Generator, n: int, std: float) -> Bytes:
    codes = rng.integers(0, 256, (n, 192), np.uint8)
    return np.hstack([codes, rng.integers(80, 121, (n, 16), np.uint8), _half(_scales(rng, n, std / (U6_STD * 100)))])


STORAGE = {
    s.name: s
    for s in (
        Storage("f16", 1, 1, 2, _f16),
        Storage("q4_0", 2, 32, 18, _q4_0),
        Storage("q5_0", 6, 32, 22, _q5_0),
        Storage("q8_0", 8, 32, 34, _q8_0),
        Storage("q3_k", 11, 256, 110, _q3_k),
        Storage("q4_k", 12, 256, 144, _q4_k),
        Storage("q6_k", 14, 256, 210, _q6_k),
        Storage("iq4_xs", 23, 256, 136, _iq4_xs),
        Storage("mxfp4", 39, 32, 17, _mxfp4),
    )
}


class Pools:
    """Random tensors from pools that are made on first use. The same seed gives the same bytes."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pools: dict[tuple[str, float], Bytes] = {}

    def _pool(self, storage: Storage, std: float) -> Bytes:
        """[blocks, nbytes]"""
        key = (storage.name, std)
        if key not in self._pools:
            rng = np.random.default_rng([self._seed, zlib.crc32(repr(key).encode())])
            self._pools[key] = storage.make(rng, POOL_WEIGHTS // storage.weights, std)
        return self._pools[key]

    def tensor(self, name: str, storage: Storage, weights: int, std: float) -> Iterator[memoryview]:
        """The bytes of a tensor of so many weights, in chunks of at most half a pool."""
        pool = self._pool(storage, std)
        rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        left = weights // storage.weights
        while left:
            n = min(left, len(pool) // 2)
            start = int(rng.integers(0, len(pool) - n + 1))
            yield pool[start : start + n].reshape(-1).data
            left -= n
