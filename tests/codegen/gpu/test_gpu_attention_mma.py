"""Attention of many tokens on matrix units: two sequences whose pages lie in any order, against float64; run as ordinary C++."""

import numpy as np
import pytest

from llmc.codegen.gpu import build
from llmc.codegen.gpu.kernels.attention_mma import GpuAttentionMma
from llmc.codegen.kernels import attention
from llmc.gpu import DEVICES
from tests.codegen.gpu import cubin, emulation
from tests.codegen.gpu.test_gpu_attention import STRIDE, Cache

WIDTHS = (64, 80, 192)
ALL = tuple(GpuAttentionMma(d) for d in WIDTHS)


@pytest.mark.parametrize(
    ("d", "kv_heads", "group", "window", "softcap", "sinks"),
    [(64, 2, 2, 0, 0.0, False), (80, 1, 3, 50, 5.0, True), (192, 1, 1, 0, 0.0, True), (64, 1, 1, 5, 0.0, False)],
)
@pytest.mark.parametrize("tokens", [[*range(200)], [*range(60, 130), *range(171, 200)], [0, 5, 129, 130, 199]], ids=len)
def test_it_is_the_reference(
    tokens: list[int], d: int, kv_heads: int, group: int, window: int, softcap: float, sinks: bool
) -> None:
    cache, heads = Cache(d, kv_heads, "f16"), kv_heads * group
    q = cache.rng.normal(size=(len(tokens), heads * d)).astype(np.float32)
    sink = cache.rng.normal(size=heads).astype(np.float32)
    found = emulation.run(
        GpuAttentionMma(d), ALL, q=q, kv=cache.pool(), tables=cache.tables, sequence=cache.sequence[tokens],
        positions=cache.positions[tokens], sinks=sink if sinks else None, o=np.full_like(q, np.nan), kv_heads=kv_heads,
        heads_per_kv=group, ldq=heads * d, ldo=heads * d, table_stride=STRIDE, page_bytes=cache.page_bytes, scale=0.1,
        softcap=softcap, window=window, n_tokens=len(tokens),
    )["o"]  # fmt: skip
    keys, values = cache.rounded(cache.k), cache.rounded(cache.v)
    for s in range(2):
        rows = [row for row, t in enumerate(tokens) if cache.sequence[t] == s]
        expected = attention.reference(
            q[rows].reshape(len(rows), heads, d), keys[s], values[s], cache.positions[[tokens[row] for row in rows]], 0.1, window,
            softcap, sink if sinks else None,
        )  # fmt: skip
        errors = np.abs(found[rows].reshape(expected.shape) - expected)
        assert errors.max() <= 2e-3 * np.abs(expected).max(), s


@pytest.mark.skipif(build.missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")
def test_cubins_multiply_on_matrix_units_and_spill_nothing() -> None:
    specs = [GpuAttentionMma(d) for d in (64, 128, 256)]
    (path,) = build.build(specs, [DEVICES["cuda:sm_80"]])
    for name, kernel in cubin.kernels(path.read_bytes()).items():
        d = int(name.rpartition("d")[2])
        keys = 64 if d <= 128 else 32
        assert not kernel.frame and kernel.registers <= 255, name
        assert cubin.instructions(path.read_bytes(), name)[cubin.MMA] == 2 * (d // 16) * (keys // 8), name


def test_heads_of_odd_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="72 features"):
        GpuAttentionMma(72)
