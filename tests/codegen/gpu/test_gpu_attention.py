"""The paged cache and attention on a GPU: two sequences of different lengths whose pages lie in any order."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.gpu.kernels.attention import GpuAttention, GpuAttentionBoth, GpuAttentionMerge
from llmc.codegen.gpu.kernels.kv_append import GpuKvAppend
from llmc.codegen.gpu.kernels.rope import GpuRope, GpuRopeTable
from llmc.codegen.kernels import attention, attention_both, kv_append, rope
from llmc.codegen.kernels.kv_append import DTYPES
from tests.codegen.gpu import opencl

LENGTHS, STRIDE, PAGES = (130, 70), 4, 5


@dataclass
class Cache:
    """Keys and values of two sequences, f32 [length, kv_heads, d] each, and where their pages lie."""

    d: int
    kv_heads: int
    dtype: str
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __post_init__(self) -> None:
        self.k, self.v = ([self.rng.normal(size=(n, self.kv_heads, self.d)).astype(np.float32) for n in LENGTHS] for _ in "kv")
        self.tables = np.array([[4, 1, 3, 0], [0, 2, 0, 0]], np.int32)
        self.sequence = np.repeat([0, 1], LENGTHS).astype(np.int32)
        self.positions = np.concatenate([np.arange(n) for n in LENGTHS]).astype(np.int32)
        self.page_bytes = kv_append.layer_bytes(self.kv_heads, self.d, self.dtype)

    def pool(self) -> NDArray[np.uint8]:
        """What the reference writes."""
        pool = np.zeros((PAGES, self.page_bytes), np.uint8)
        for table, k, v in zip(self.tables, self.k, self.v, strict=True):
            kv_append.reference(pool, table, np.arange(len(k), dtype=np.int32), k, v, self.dtype)
        return pool

    def rounded(self, values: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return [kv_append.kept(a, self.dtype) for a in values]


@pytest.mark.parametrize("dtype", ["f16", "f32", "q8"])
@pytest.mark.parametrize(("d", "rot", "style"), [(64, 64, "half"), (80, 32, "interleaved"), (34, 0, "half")])
def test_kv_append_writes_where_the_reference_does(d: int, rot: int, style: str, dtype: str) -> None:
    cache = Cache(d, 3, dtype)
    table = cache.rng.normal(size=(sum(LENGTHS), max(rot, 2))).astype(np.float32)
    k, v = (np.concatenate(a).reshape(sum(LENGTHS), -1) for a in (cache.k, cache.v))
    found = opencl.run(
        GpuKvAppend(d, dtype, rot, style), k=k, v=v, table=table, kv=np.zeros((PAGES, cache.page_bytes), np.uint8),
        tables=cache.tables, sequence=cache.sequence, positions=cache.positions, heads=3, ldk=3 * d, ldv=3 * d,
        table_stride=STRIDE, page_bytes=cache.page_bytes, n_tokens=len(k),
    )["kv"]  # fmt: skip
    if rot:
        turned = rope.reference(np.concatenate(cache.k), table, rot, style).astype(np.float32)
        cache.k = [turned[: LENGTHS[0]], turned[LENGTHS[0] :]]
    if dtype == "q8":  # a code may round the other way where keys were rotated; scales are floats
        end = 2 * 3 * d * 64
        codes, scales = ([pool[:, :end].view(np.int8), pool[:, end:].view(np.float32)] for pool in (found, cache.pool()))
        found_codes, found_scales = codes
        expected_codes, expected_scales = scales
        assert np.abs(found_codes.astype(int) - expected_codes).max() <= 1
        np.testing.assert_allclose(found_scales, expected_scales, rtol=1e-6)
        return
    a, b = (pool.view(DTYPES[dtype]).astype(np.float64) for pool in (found, cache.pool()))
    assert np.abs(a - b).max() <= (2e-3 if dtype == "f16" else 1e-6)


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize(
    ("d", "kv_heads", "group", "dtype", "window", "softcap", "of_heads"),
    [
        (64, 2, 4, "f16", 0, 0.0, ""),
        (80, 1, 3, "f32", 50, 5.0, "sinks"),
        (256, 1, 8, "f16", 0, 0.0, ""),
        (34, 2, 1, "f32", 64, 0.0, "sinks"),
        (64, 2, 2, "q8", 0, 0.0, "slopes"),
    ],
)
def test_attention_is_the_reference(
    d: int, kv_heads: int, group: int, dtype: str, window: int, softcap: float, of_heads: str, splits: int
) -> None:
    cache, heads = Cache(d, kv_heads, dtype), kv_heads * group
    tokens = [0, 5, 129, 130, 199]
    q = cache.rng.normal(size=(len(tokens), heads * d)).astype(np.float32)
    vector, sinks = cache.rng.random(size=heads).astype(np.float32), of_heads == "sinks"
    spec = GpuAttention(d, group, dtype, splits > 1, window > 0, softcap > 0, sinks, of_heads == "slopes")
    done = opencl.run(
        spec, q=q, kv=cache.pool(), tables=cache.tables, sequence=cache.sequence[tokens], positions=cache.positions[tokens],
        of_heads=vector, o=np.full_like(q, np.nan), states=np.full((len(tokens), heads, splits, d + 2), np.nan, np.float32),
        kv_heads=kv_heads, ldq=heads * d, ldo=heads * d, table_stride=STRIDE, page_bytes=cache.page_bytes, scale=0.1,
        softcap=softcap, window=window, splits=splits, n_tokens=len(tokens),
    )  # fmt: skip
    if splits > 1:
        merge = GpuAttentionMerge(d, sinks)
        given = {"states": done["states"], "of_heads": vector, "o": np.full_like(q, np.nan)}
        done = opencl.run(merge, **given, heads=heads, ldo=heads * d, splits=splits, n_tokens=len(tokens))
    keys, values = cache.rounded(cache.k), cache.rounded(cache.v)
    for row, t in enumerate(tokens):
        s = cache.sequence[t]
        expected = attention.reference(
            q[row].reshape(1, heads, d), keys[s], values[s], cache.positions[t : t + 1], 0.1, window, softcap,
            **{of_heads: vector} if of_heads else {},
        )  # fmt: skip
        assert np.abs(done["o"][row].reshape(heads, d) - expected[0]).max() <= 2e-6 * np.abs(expected).max(), t


@pytest.mark.parametrize(("dtype", "reach"), [("f16", 0), ("f32", 20)])
def test_an_encoder_sees_both_sides(dtype: str, reach: int) -> None:
    cache, heads, d = Cache(64, 2, dtype), 4, 64
    q = cache.rng.normal(size=(sum(LENGTHS), heads * d)).astype(np.float32)
    found = opencl.run(
        GpuAttentionBoth(d, 2, dtype, reach > 0), q=q, kv=cache.pool(), tables=cache.tables, sequence=cache.sequence,
        positions=cache.positions, starts=np.cumsum([0, *LENGTHS]).astype(np.int32), o=np.full_like(q, np.nan), kv_heads=2,
        ldq=heads * d, ldo=heads * d, table_stride=STRIDE, page_bytes=cache.page_bytes, scale=0.1, reach=reach, n_tokens=len(q),
    )["o"]  # fmt: skip
    rows = np.split(q.reshape(len(q), heads, d), [LENGTHS[0]])
    parts = zip(rows, cache.rounded(cache.k), cache.rounded(cache.v), strict=True)
    expected = np.concatenate([attention_both.reference(*part, 0.1, reach) for part in parts]).reshape(q.shape)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def test_a_rope_table_is_exact_far_out() -> None:
    positions = np.array([0, 1, 77, 131071], np.int32)
    freqs = (1 / 10000 ** (np.arange(32) / 32)).astype(np.float32)
    found = opencl.run(
        GpuRopeTable(), positions=positions, freqs=freqs, table=np.zeros((4, 64), np.float32), pairs=32, scale=1.5, n_tokens=4
    )
    assert np.abs(found["table"] - rope.reference_table(positions, freqs, 1.5)).max() <= 3e-7


@pytest.mark.parametrize(("d", "rot", "style"), [(64, 64, "half"), (80, 32, "interleaved")])
def test_rope_turns_pairs(d: int, rot: int, style: str) -> None:
    rng = np.random.default_rng(6)
    x, table = rng.normal(size=(3, 5 * d)).astype(np.float32), rng.normal(size=(3, rot)).astype(np.float32)
    found = opencl.run(GpuRope(d, rot, style), x=x, table=table, heads=5, ldx=5 * d, n_tokens=3)["x"]
    assert np.abs(found - rope.reference(x.reshape(3, 5, d), table, rot, style).reshape(3, -1)).max() <= 1e-6
