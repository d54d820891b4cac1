"""Multi-head latent attention on a GPU: latents into pages, attention of all heads to them, a matrix for each head."""

import numpy as np
import pytest

from llmc.codegen.gpu.kernels.attention import GpuAttentionMerge
from llmc.codegen.gpu.kernels.latent import GpuHeadLinear, GpuLatentAppend
from llmc.codegen.gpu.kernels.latent_attention import GpuLatentAttention
from llmc.codegen.kernels import latent_append, latent_attention
from llmc.codegen.kernels.kv_append import DTYPES, PAGE_TOKENS
from llmc.codegen.kernels.latent_append import LatentAppend
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import dequantize
from llmc.ir.tiles import pack
from tests.codegen.gpu import opencl
from tests.codegen.weights import random_weight

LENGTHS, TABLES, PAGES = (130, 70), np.array([[4, 1, 3, 0], [0, 2, 0, 0]], np.int32), 5
SEQUENCE = np.repeat([0, 1], LENGTHS).astype(np.int32)
POSITIONS = np.concatenate([np.arange(n) for n in LENGTHS]).astype(np.int32)
LATENT, ROTATED, D, HEADS = 70, 20, 96, 6


@pytest.mark.parametrize("dtype", ["f16", "f32"])
@pytest.mark.parametrize("splits", [1, 2])
def test_latents_are_kept_and_attended_to(dtype: str, splits: int) -> None:
    rng, total, page_bytes = np.random.default_rng(1), sum(LENGTHS), PAGE_TOKENS * D * DTYPES[dtype].itemsize
    latent, rotated = (rng.normal(size=(total, n)).astype(np.float32) for n in (LATENT, ROTATED))
    where = {"tables": TABLES, "table_stride": 4, "page_bytes": page_bytes}
    pool = opencl.run(
        GpuLatentAppend(LatentAppend(LATENT, ROTATED, dtype)), latent=latent, rotated=rotated, sequence=SEQUENCE,
        positions=POSITIONS, kv=np.zeros((PAGES, page_bytes), np.uint8), ldk=LATENT, ldv=ROTATED, n_tokens=total, **where,
    )["kv"]  # fmt: skip
    expected_pool = np.zeros_like(pool)
    cuts = [slice(0, LENGTHS[0]), slice(LENGTHS[0], total)]
    for cut, table in zip(cuts, TABLES, strict=True):
        latent_append.reference(expected_pool, table, POSITIONS[cut], latent[cut], rotated[cut], dtype)
    a, b = (p.view(DTYPES[dtype]).astype(np.float64) for p in (pool, expected_pool))
    assert np.abs(a - b).max() <= (2e-3 if dtype == "f16" else 0)

    tokens = [0, 64, 129, 199]
    q = rng.normal(size=(len(tokens), HEADS * D)).astype(np.float32)
    done = opencl.run(
        GpuLatentAttention(D, LATENT, HEADS, dtype, splits > 1), q=q, kv=expected_pool, sequence=SEQUENCE[tokens],
        positions=POSITIONS[tokens], of_heads=None, o=np.full((len(tokens), HEADS * LATENT), np.nan, np.float32),
        states=np.full((len(tokens), HEADS, splits, LATENT + 2), np.nan, np.float32), kv_heads=1, ldq=HEADS * D,
        ldo=HEADS * LATENT, scale=0.1, softcap=0.0, window=0, splits=splits, n_tokens=len(tokens), **where,
    )  # fmt: skip
    if splits > 1:
        given = {"states": done["states"], "of_heads": None, "o": done["o"]}
        done = opencl.run(
            GpuAttentionMerge(LATENT), **given, heads=HEADS, ldo=HEADS * LATENT, splits=splits, n_tokens=len(tokens)
        )
    keys = np.pad(np.concatenate([latent, rotated], 1), ((0, 0), (0, D - LATENT - ROTATED)))
    keys = keys.astype(DTYPES[dtype]).astype(np.float32)
    for row, t in enumerate(tokens):
        own = keys[cuts[SEQUENCE[t]]]
        expected = latent_attention.reference(q[row].reshape(1, HEADS, D), own, POSITIONS[t : t + 1], 0.1, LATENT)
        assert np.abs(done["o"][row].reshape(HEADS, LATENT) - expected[0]).max() <= 2e-6 * np.abs(expected).max(), t


@pytest.mark.parametrize("p", [1, 4])
@pytest.mark.parametrize(("name", "n", "k", "tail"), [("q8_0", 40, 64, 8), ("f16", 35, 20, 0)])
def test_each_head_has_a_matrix(name: str, n: int, k: int, tail: int, p: int) -> None:
    fmt, heads, tokens, width, rng = FORMATS[name], 3, 5, 64, np.random.default_rng(2)
    raw = [random_weight(fmt, n, k, np.random.default_rng(h)) for h in range(heads)]
    w = np.stack([dequantize(fmt, r.reshape(-1)).reshape(n, k) for r in raw]).astype(np.float64)
    x = rng.normal(size=(16, heads * k)).astype(np.float32)
    beside = rng.normal(size=(tokens, heads * tail)).astype(np.float32) if tail else None
    found = opencl.run(
        GpuHeadLinear(fmt, p), w=np.concatenate([chunk for r in raw for chunk in pack(fmt, r, n, k)]), x=x, beside=beside,
        y=np.full((tokens, heads * width), np.nan, np.float32), heads=heads, n=n, k=k, width=width, tail=tail, tiles=-(-n // 16),
        ldx=heads * k, ldb=heads * tail, ldy=heads * width, n_tokens=tokens,
    )["y"].reshape(tokens, heads, width)  # fmt: skip
    expected = np.einsum("thk,hnk->thn", x[:tokens].reshape(tokens, heads, k).astype(np.float64), w)
    assert np.abs(found[:, :, :n] - expected).max() <= 1e-5 * np.abs(expected).max()
    if beside is not None:
        assert np.array_equal(found[:, :, n : n + tail], beside.reshape(tokens, heads, tail))
    assert not found[:, :, n + tail :].any()
