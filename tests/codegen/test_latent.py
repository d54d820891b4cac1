"""Latents in the paged cache on every level this machine runs: double precision, and equal bits however attention is cut up."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels import latent_append
from llmc.codegen.kernels.kv_append import DTYPES, PAGE_TOKENS
from llmc.codegen.kernels.latent_append import LatentAppend
from llmc.codegen.kernels.latent_attention import LatentAttention, reference
from llmc.target import Isa
from tests.tolerance import F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]

APPENDS = [LatentAppend(512, 64, "f16"), LatentAppend(40, 10, "f32"), LatentAppend(24, 6, "f16")]
SHAPES = [(576, 512, 16, "f16"), (64, 40, 4, "f32"), (32, 24, 6, "f16"), (80, 64, 11, "f16")]
PAIRS = [LatentAttention.variants(*shape) for shape in SHAPES]
LENGTHS = (1, 3, 64, 65, 512, 513, 600)
GROUPS = 2  # of heads


def some_pages(rng: np.random.Generator, positions: int, d: int, dtype: str) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Pages in any order, and a pool of NaN."""
    pages = -(-positions // PAGE_TOKENS)
    pool = np.full((pages + 2, d * PAGE_TOKENS + 64), np.nan, DTYPES[dtype]).view(np.uint8)
    return rng.permutation(pages + 2)[:pages].astype(np.int32), pool


@pytest.mark.parametrize("spec", APPENDS, ids=lambda s: s.symbol)
def test_appends_latent_rotated_features_and_zeros(spec: LatentAppend, isa: Isa, compiled: Any, guarded: Guard) -> None:
    rng = np.random.default_rng(spec.latent)
    positions = np.arange(60, 70, dtype=np.int32)
    pages, expected = some_pages(rng, 70, spec.d, spec.dtype)
    latent, rotated = (guarded(rng.standard_normal((10, n + 3)).astype(np.float32)) for n in (spec.latent, spec.rotated))
    pool = guarded(expected.copy())
    lds = spec.latent + 3, spec.rotated + 3
    compiled(spec, isa)(latent, rotated, None, pool, guarded(pages), guarded(positions), 1, *lds, pool.shape[1], 1, 9)
    latent_append.reference(
        expected, pages, positions[1:9], latent[1:9, : spec.latent], rotated[1:9, : spec.rotated], spec.dtype
    )
    assert pool.tobytes() == expected.tobytes()


class Case:
    """Queries of two groups of heads at `positions`, and latents up to the last of them; NaN where nothing must be read."""

    def __init__(self, spec: LatentAttention, positions: NDArray[np.int32], guard: Guard) -> None:
        rng, n = np.random.default_rng(len(positions)), int(positions[-1]) + 1
        self.spec, self.heads, self.scale = spec, GROUPS * spec.heads_per_kv, float(np.float32(spec.d**-0.5))
        self.q = guard(rng.standard_normal((len(positions), self.heads, spec.d)).astype(np.float32))
        self.keys = rng.standard_normal((n, spec.d)).astype(DTYPES[spec.dtype])
        pages, pool = some_pages(rng, n, spec.d, spec.dtype)
        latent_append.reference(pool, pages, np.arange(n, dtype=np.int32), self.keys, self.keys[:, :0], spec.dtype)
        self.pages, self.pool, self.positions = guard(pages), guard(pool), guard(positions)
        self.o = guard(np.full((len(positions), self.heads, spec.values), np.nan, np.float32))

    def run(self, kernel: Callable[..., None], tokens: tuple[int, int], groups: tuple[int, int] = (0, GROUPS)) -> None:
        lds, page_bytes = (self.heads * self.spec.d, self.heads * self.spec.values), self.pool.shape[1]
        options = (self.scale, 0.0, 0, *groups, *tokens)
        kernel(self.q, self.pool, self.pages, self.positions, None, self.o, GROUPS, *lds, page_bytes, *options)

    def assert_close(self) -> None:
        wanted = reference(self.q, self.keys, self.positions, self.scale, self.spec.values)
        scores = np.einsum("thd,sd->ths", self.q.astype(np.float64), self.keys.astype(np.float64)) * self.scale
        scores[:, :, :][np.broadcast_to(np.arange(len(self.keys)) > self.positions[:, None, None], scores.shape)] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        l1 = p / p.sum(-1, keepdims=True) @ np.abs(self.keys[:, : self.spec.values].astype(np.float64))
        assert_sum_close(self.o, wanted, l1, F32_SUM)


@pytest.mark.parametrize("spec", [pair[0] for pair in PAIRS], ids=lambda s: s.symbol)
def test_single_tokens_see_exactly_their_past(spec: LatentAttention, isa: Isa, compiled: Any, guarded: Guard) -> None:
    for length in LENGTHS:
        case = Case(spec, np.array([length - 1], np.int32), guarded)
        case.run(compiled(spec, isa), (0, 1))
        case.assert_close()


@pytest.mark.parametrize("first", [0, 60, 509])
@pytest.mark.parametrize("specs", PAIRS, ids=lambda s: s[1].symbol)
def test_tiles_give_the_bits_of_single_tokens(
    specs: tuple[LatentAttention, LatentAttention], isa: Isa, first: int, compiled: Any, guarded: Guard
) -> None:
    single, tiled = specs
    positions = np.arange(first, first + 2 * tiled.tokens, dtype=np.int32)
    one, many, mixed = (Case(single, positions, guarded) for _ in range(3))
    one.run(compiled(single, isa), (0, len(positions)))
    many.run(compiled(tiled, isa), (0, len(positions)))
    mixed.run(compiled(tiled, isa), (1, 1 + tiled.tokens), (1, 2))  # from token 1, so that tiles start elsewhere
    mixed.run(compiled(tiled, isa), (1, 1 + tiled.tokens), (0, 1))
    mixed.run(compiled(single, isa), (0, 1))
    mixed.run(compiled(single, isa), (1 + tiled.tokens, len(positions)))
    one.assert_close()
    assert one.o.tobytes() == many.o.tobytes() == mixed.o.tobytes()


def test_heads_are_dealt_in_groups_of_at_most_eight() -> None:
    heads = (1, 6, 16, 40, 11, 128)
    assert [LatentAttention.variants(64, 48, n, "f16")[0].heads_per_kv for n in heads] == [1, 6, 8, 8, 1, 8]


def test_a_latent_that_no_cache_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="latents of 50 features"):
        LatentAttention(50, 40, 4, 1, "f16")
    with pytest.raises(ValueError, match="as bf16"):
        LatentAppend(40, 10, "bf16")
