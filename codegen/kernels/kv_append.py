"""Keys and values of new tokens into the paged KV cache; keys may be rotated on their way.

A page holds 64 positions of one layer: K as [kv_heads][d][64], then V as [kv_heads][64][d]. Positions are innermost in K, so that
scores of 64 keys need no sums across lanes. "q8" stores int8 codes there and after them, in f32, a scale for each key and value:
K's [kv_heads][64], then V's. A key or value is code * scale, with scale = max |x| / 127 over its d features and codes rounded to
nearest, ties to even: an error of at most max |x| / 254 in each feature. Scales of columns over many keys, which suit keys better
(KIVI, arXiv:2402.02750), cannot be known when the first of the keys is written.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels import rope
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

PAGE_TOKENS = 64
DTYPES: dict[str, np.dtype[Any]] = {"f16": np.dtype(np.float16), "f32": np.dtype(np.float32), "q8": np.dtype(np.int8)}
WHOLE_DTYPES = ("f16", "f32")  # those without scales


@dataclass(frozen=True)
class KvAppend:
    """Writes tokens [lo, hi) of one sequence: k [t, heads*d] with rows ldk apart, v with rows ldv apart, table [T, rot] or NULL.

    Position positions[t] lies in page pages[position / 64], at kv + pages[..] * page_bytes. The first `rot` features of each key
    are rotated by the table's row t, 0 is none (codegen/kernels/rope.py). "f16" rounds to nearest, ties to even.
    """

    d: int
    dtype: str
    rot: int = 0
    style: str = "half"

    def __post_init__(self) -> None:
        rope.check(self.d, self.rot, self.style)
        check(self.d, self.dtype)

    @property
    def symbol(self) -> str:
        return f"kv_append_d{self.d}_{self.dtype}" + (f"_{self.style}_r{self.rot}" if self.rot else "")

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *k, const float *v, const float *table, uint8_t *kv, const int32_t *pages, const int32_t *positions, "
            "int32_t heads, int32_t ldk, int32_t ldv, int64_t page_bytes, int32_t lo, int32_t hi"
        )

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import kv_append_tir

        return kv_append_tir.generate(self, isa)


def check(d: int, dtype: str) -> None:
    """Raises ValueError for a head dimension or element type the cache cannot hold."""
    if d < 2 or d % 2:
        raise ValueError(f"a head has an even number of features, not {d}")
    if dtype not in DTYPES:
        raise ValueError(f"a KV cache of {dtype}; there are {tuple(DTYPES)}")


def layer_bytes(heads: int, d: int, dtype: str, parts: int = 2) -> int:
    """Of one layer of a page, which holds `parts` vectors for each head and position: a key and a value."""
    scale = 4 if dtype == "q8" else 0
    return parts * heads * PAGE_TOKENS * (d * DTYPES[dtype].itemsize + scale)


def quantised(x: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """"q8" codes [.., d] and scales [..] of [.., d]."""
    amax = np.abs(x.astype(np.float32)).max(axis=-1)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.minimum(np.float32(127) / amax, np.finfo(np.float32).max)
    codes = np.rint(x.astype(np.float32) * np.where(amax > 0, inverse, np.float32(0))[..., None])
    return codes.astype(np.int8), amax / np.float32(127)


def kept(x: NDArray[np.floating], dtype: str) -> NDArray[np.float32]:
    """What attention reads of keys or values [.., d] that were stored."""
    if dtype != "q8":
        return x.astype(DTYPES[dtype]).astype(np.float32)
    codes, scale = quantised(x)
    return codes * scale[..., None]


def reference(
    pool: NDArray[np.uint8],
    pages: NDArray[np.int32],
    positions: NDArray[np.int32],
    k: NDArray[np.floating],
    v: NDArray[np.floating],
    dtype: str,
) -> None:
    """Writes k and v [T, heads, d] into pool [pages, page_bytes], in place; keys come rotated."""
    _, heads, d = k.shape
    stored: list[NDArray[Any]] = [k, v]
    if dtype == "q8":
        (stored[0], k_scale), (stored[1], v_scale) = quantised(k), quantised(v)
        start = 2 * heads * d * PAGE_TOKENS
        scales = pool[:, start : layer_bytes(heads, d, dtype)].view(np.float32).reshape(len(pool), 2, heads, PAGE_TOKENS)
        for t, position in enumerate(positions):
            page, slot = pages[position // PAGE_TOKENS], position % PAGE_TOKENS
            scales[page, 0, :, slot], scales[page, 1, :, slot] = k_scale[t], v_scale[t]
    cache = pool.view(DTYPES[dtype])[:, : 2 * heads * d * PAGE_TOKENS].reshape(len(pool), 2, heads, d * PAGE_TOKENS)
    keys = cache[:, 0].reshape(len(pool), heads, d, PAGE_TOKENS)
    values = cache[:, 1].reshape(len(pool), heads, PAGE_TOKENS, d)
    for t, position in enumerate(positions):
        page, slot = pages[position // PAGE_TOKENS], position % PAGE_TOKENS
        keys[page, :, :, slot], values[page, :, slot] = stored[0][t], stored[1][t]
