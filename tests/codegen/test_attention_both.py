"""The encoder's attention on every level this machine runs: double precision, and equal bits however the work is cut up."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels import kv_append
from llmc.codegen.kernels.attention_both import AttentionBoth, reference
from llmc.codegen.kernels.kv_append import DTYPES, PAGE_TOKENS
from llmc.target import Isa
from tests.tolerance import F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]
KV_HEADS = 2
PAIRS = [
    AttentionBoth.variants(64, 1, "f16"), AttentionBoth.variants(32, 1, "f32", local=True), AttentionBoth.variants(6, 3, "f32"),
    AttentionBoth.variants(64, 1, "f32", biased=True), AttentionBoth.variants(16, 2, "f16", local=True, biased=True),
]  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 17, 63, 64, 65, 130, 530])
@pytest.mark.parametrize("specs", PAIRS, ids=lambda specs: specs[1].symbol)
def test_every_token_sees_both_sides(compiled: Callable[..., Any], isa: Isa, guarded: Guard, specs: Any, n: int) -> None:
    single, tiled = specs
    rng, d, heads, dtype = np.random.default_rng(n), single.d, KV_HEADS * single.heads_per_kv, DTYPES[single.dtype]
    reach, span = (13 if single.local else n), n + 3
    q = guarded(rng.standard_normal((n, heads, d)).astype(np.float32))
    k, v = (rng.standard_normal((n, KV_HEADS, d)).astype(dtype) for _ in range(2))
    count = -(-n // PAGE_TOKENS)
    pages = guarded(rng.permutation(count + 2)[:count].astype(np.int32))
    pool = np.full((count + 2, 2 * KV_HEADS * d * PAGE_TOKENS), np.nan, dtype).view(np.uint8)
    positions = guarded(np.arange(n, dtype=np.int32))
    kv_append.reference(pool, pages, positions, k, v, single.dtype)
    bias = guarded(rng.standard_normal((heads, 2 * span - 1)).astype(np.float32))
    results = []
    for run in ([(single, 0, n)], [(tiled, 0, n - n % tiled.tokens), (single, n - n % tiled.tokens, n)]):
        o = guarded(np.full_like(q, np.nan))
        for spec, lo, hi in run:
            for head in range(KV_HEADS if hi > lo else 0):
                numbers = (KV_HEADS, heads * d, heads * d, pool.shape[1], d**-0.5, reach, n, span, head, head + 1, lo, hi)
                compiled(spec, isa)(q, guarded(pool), pages, positions, bias, o, *numbers)
        results.append(o)
    options = (d**-0.5, reach if single.local else 0, bias if single.biased else None)
    assert_sum_close(results[0], reference(q, k, v, *options), reference(q, k, np.abs(v), *options), F32_SUM)
    assert np.array_equal(results[0].view(np.uint32), results[1].view(np.uint32))
