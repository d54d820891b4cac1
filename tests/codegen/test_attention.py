"""Attention over the paged cache on every level this machine runs: double precision, and equal bits however it is cut up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels import kv_append
from llmc.codegen.kernels.attention import Attention, reference
from llmc.codegen.kernels.kv_append import PAGE_TOKENS, kept, layer_bytes
from llmc.target import Isa
from tests.tolerance import F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]
Kernel = Callable[..., None]

LENGTHS = (1, 2, 63, 64, 65, 511, 512, 513, 600)  # of the keys a token sees: around pages and partitions
SHAPES = [(64, 4, "f16"), (128, 1, "f16"), (80, 3, "f32"), (72, 2, "f16"), (6, 5, "f16"), (96, 7, "f16"), (2, 16, "f32")]
SHAPES += [(64, 4, "q8"), (80, 3, "q8"), (6, 5, "q8")]
DECODE = [Attention(d, g, 1, dtype) for d, g, dtype in SHAPES] + [Attention(32, g, 1, "f16") for g in (6, 8, 12)]
PAIRS = [Attention.variants(*shape) for shape in SHAPES]
SINKS = [Attention.variants(64, 8, "f16", True, of_heads="sinks"), Attention.variants(6, 3, "f32", False, True, "sinks")]
SLOPES = [Attention.variants(64, 4, "f16", of_heads="slopes"), Attention.variants(6, 3, "f32", True, of_heads="slopes")]
CHUNKED = [Attention.variants(d, g, dtype, True, chunked=True) for d, g, dtype in ((64, 4, "f16"), (6, 2, "f32"))]
OPTIONS = [Attention.variants(d, g, dtype, True, capped) for d, g, dtype, capped in (
    (64, 4, "f16", True), (64, 2, "q8", True), (6, 2, "f32", False),
)]  # fmt: skip
SOFTCAP = 2.5
KV_HEADS = 2


@dataclass
class Case:
    """Queries at `positions` and a cache of everything up to the last of them, in pages that lie in any order.

    Whatever must not be read is NaN: pages of others, and keys and values past the last position.
    """

    spec: Attention
    positions: NDArray[np.int32]
    guard: Guard
    size: float = 1.0
    window: int = 0
    sink: float = 0.0  # about which the sinks lie

    def __post_init__(self) -> None:
        rng, d = np.random.default_rng(len(self.positions)), self.spec.d
        n, dtype = int(self.positions[-1]) + 1, self.spec.dtype
        self.heads, self.scale = KV_HEADS * self.spec.heads_per_kv, float(np.float32(d**-0.5))
        self.q = self.guard((self.size * rng.standard_normal((len(self.positions), self.heads, d))).astype(np.float32))
        k, v = (rng.standard_normal((n, KV_HEADS, d)).astype(np.float32) for _ in range(2))
        self.k, self.v = kept(k, dtype), kept(v, dtype)
        pages = -(-n // PAGE_TOKENS)
        self.pages = self.guard(rng.permutation(pages + 2)[:pages].astype(np.int32))
        pool = np.full((pages + 2, layer_bytes(KV_HEADS, d, dtype) + 64), 0xFF, np.uint8)  # NaN in f16 and f32
        kv_append.reference(pool, self.pages, np.arange(n, dtype=np.int32), k, v, dtype)
        self.pool = self.guard(pool)
        self.o = self.guard(np.full_like(self.q, np.nan))
        of_heads = self.sink + 2 * rng.standard_normal(self.heads)
        if self.spec.of_heads == "slopes":
            of_heads = 2.0 ** -np.linspace(1, 8, self.heads)
        self.of_heads = self.guard(of_heads.astype(np.float32))
        self.positions = self.guard(self.positions)

    def run(self, kernel: Kernel, tokens: tuple[int, int], heads: tuple[int, int] = (0, KV_HEADS)) -> None:
        ld, page_bytes = self.heads * self.spec.d, self.pool.shape[1]
        options = (self.scale, self.softcap, self.window, *heads, *tokens)
        kernel(self.q, self.pool, self.pages, self.positions, self.of_heads, self.o, KV_HEADS, ld, ld, page_bytes, *options)

    @property
    def softcap(self) -> float:
        return SOFTCAP if self.spec.softcap else 0.0

    def assert_close(self) -> None:
        sinks, slopes = (self.of_heads if self.spec.of_heads == kind else None for kind in ("sinks", "slopes"))
        arguments = (self.positions, self.scale, self.window, self.softcap, sinks, slopes, self.spec.chunked)
        wanted = reference(self.q, self.k, self.v, *arguments)
        assert_sum_close(self.o, wanted, reference(self.q, self.k, np.abs(self.v), *arguments), F32_SUM * max(1.0, self.size))


def ids(specs: Attention | Sequence[Attention]) -> str:
    return specs.symbol if isinstance(specs, Attention) else specs[1].symbol


@pytest.mark.parametrize("spec", DECODE, ids=ids)
def test_single_tokens_see_exactly_their_past(spec: Attention, isa: Isa, compiled: Any, guarded: Guard) -> None:
    for length in LENGTHS:
        case = Case(spec, np.array([length - 1], np.int32), guarded)
        case.run(compiled(spec, isa), (0, 1))
        case.assert_close()


@pytest.mark.parametrize("first", [0, 60, 500, 509])
@pytest.mark.parametrize("specs", PAIRS, ids=ids)
def test_tiles_give_the_bits_of_single_tokens(
    specs: tuple[Attention, Attention], isa: Isa, first: int, compiled: Any, guarded: Guard
) -> None:
    single, tiled = specs
    positions = np.arange(first, first + 16, dtype=np.int32)
    one, many, mixed = (Case(single, positions, guarded) for _ in range(3))
    one.run(compiled(single, isa), (0, 16))
    many.run(compiled(tiled, isa), (0, 16))
    last = 1 + 15 // tiled.tokens * tiled.tokens  # from token 1, so that tiles start elsewhere
    mixed.run(compiled(tiled, isa), (1, last), (1, 2))
    mixed.run(compiled(tiled, isa), (1, last), (0, 1))
    mixed.run(compiled(single, isa), (0, 1))
    mixed.run(compiled(single, isa), (last, 16))
    one.assert_close()
    assert one.o.tobytes() == many.o.tobytes() == mixed.o.tobytes()


@pytest.mark.parametrize("first", [0, 60, 500, 3000])
@pytest.mark.parametrize("specs", SLOPES, ids=ids)
def test_slopes_take_from_scores_by_distance(
    specs: tuple[Attention, Attention], isa: Isa, first: int, compiled: Any, guarded: Guard
) -> None:
    single, tiled = specs
    positions = np.arange(first, first + 16, dtype=np.int32)
    one, many = (Case(spec, positions, guarded, window=100 if spec.window else 0) for spec in specs)
    one.run(compiled(single, isa), (0, 16))
    many.run(compiled(tiled, isa), (0, 16))
    one.assert_close()
    assert one.o.tobytes() == many.o.tobytes()


@pytest.mark.parametrize("window", [1, 3, 64, 70, 520, 2000])
@pytest.mark.parametrize("specs", OPTIONS + CHUNKED, ids=ids)
def test_a_window_hides_what_lies_before_it(
    specs: tuple[Attention, Attention], isa: Isa, window: int, compiled: Any, guarded: Guard
) -> None:
    """Tiles give the bits of single tokens, though a later token of a tile sees fewer of the tile's first keys."""
    single, tiled = specs
    for first in (0, 60, 509, 1020):
        positions = np.arange(first, first + 16, dtype=np.int32)
        one, many = (Case(single, positions, guarded, 3.0, window) for _ in range(2))
        one.run(compiled(single, isa), (0, 16))
        many.run(compiled(tiled, isa), (0, 16))
        one.assert_close()
        assert one.o.tobytes() == many.o.tobytes()


@pytest.mark.parametrize("sink", [-300.0, 0.0, 8.0, 300.0])
@pytest.mark.parametrize("specs", SINKS, ids=ids)
def test_a_sink_takes_its_share(
    specs: tuple[Attention, Attention], isa: Isa, sink: float, compiled: Any, guarded: Guard
) -> None:
    """Once, over several partitions too; nothing where it is far below the scores, all where it is far above."""
    single, tiled = specs
    for first in (0, 60, 509, 1020):
        positions = np.arange(first, first + 16, dtype=np.int32)
        one, many = (Case(single, positions, guarded, 3.0, 70, sink) for _ in range(2))
        if not single.window:
            one.window = many.window = 0
        one.run(compiled(single, isa), (0, 16))
        many.run(compiled(tiled, isa), (0, 16))
        if sink < 300:
            one.assert_close()
        else:
            assert np.abs(one.o).max() < 1e-30
        assert one.o.tobytes() == many.o.tobytes()


@pytest.mark.parametrize("spec", [OPTIONS[0][0]], ids=ids)
def test_pages_before_the_window_are_not_read(spec: Attention, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, np.array([700], np.int32), guarded, 1.0, window=130)
    case.pages[: (700 - 129) // PAGE_TOKENS] = 1 << 24
    case.run(compiled(spec, isa), (0, 1))
    case.assert_close()


@pytest.mark.parametrize("specs", PAIRS[:1], ids=ids)
def test_other_tokens_and_heads_are_left_alone(
    specs: tuple[Attention, Attention], isa: Isa, compiled: Any, guarded: Guard
) -> None:
    single, tiled = specs
    case = Case(single, np.arange(3, 15, dtype=np.int32), guarded)
    case.run(compiled(tiled, isa), (2, 2 + tiled.tokens), (1, 2))
    written = ~np.isnan(case.o).all(axis=2)
    wanted = np.zeros_like(written)
    wanted[2 : 2 + tiled.tokens, single.heads_per_kv :] = True
    assert (written == wanted).all()


@pytest.mark.parametrize("spec", DECODE[:2], ids=ids)
def test_a_single_key_gives_its_value_exactly(spec: Attention, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, np.array([0], np.int32), guarded)
    case.run(compiled(spec, isa), (0, 1))
    assert (case.o[0] == np.repeat(case.v[0], spec.heads_per_kv, axis=0)).all()


@pytest.mark.parametrize("size", [1e-3, 30.0, 3e3])
@pytest.mark.parametrize("specs", PAIRS[:1], ids=ids)
def test_flat_and_peaked_softmax(
    specs: tuple[Attention, Attention], isa: Isa, size: float, compiled: Any, guarded: Guard
) -> None:
    case = Case(specs[1], np.arange(560, 568, dtype=np.int32), guarded, size)
    case.run(compiled(specs[1], isa), (0, 8))
    case.assert_close()


@pytest.mark.parametrize("spec", DECODE[:1], ids=ids)
def test_equal_keys_average_the_values(spec: Attention, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, np.array([1023], np.int32), guarded)
    case.q[...] = 0
    case.run(compiled(spec, isa), (0, 1))
    case.assert_close()


def test_variants_are_one_token_and_a_tile() -> None:
    for heads in range(1, 65):
        single, tiled = Attention.variants(64, heads, "f16")
        assert single.tokens == 1 and tiled.tokens in (2, 4, 8)


def test_refuses_impossible_shapes() -> None:
    for wrong in ((63, 1, 1, "f16"), (64, 0, 1, "f16"), (64, 1, 0, "f16"), (64, 1, 1, "i8")):
        with pytest.raises(ValueError, match="features|heads|KV cache"):
            Attention(*wrong)
