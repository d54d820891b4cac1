"""Mixtures of experts on a GPU: who goes where, products with the experts' matrices, and their sum."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.gpu.kernels.expert_sort import GpuExpertSort, GpuExpertTiles
from llmc.codegen.gpu.kernels.experts import WIDTH, GpuExpertLinear, GpuExpertSum
from llmc.codegen.gpu.kernels.router import GpuRouter
from llmc.codegen.kernels import activation
from llmc.codegen.kernels.router import Router
from llmc.frontend.quant import FORMATS
from llmc.ir import reference
from llmc.ir.quant import Format, dequantize
from llmc.ir.tiles import pack
from tests.codegen.gpu import opencl
from tests.codegen.test_experts import GROUPS, ROUTERS
from tests.codegen.weights import random_weight

EXPERTS, USED, TOKENS = 5, 2, 11
HIDDEN, ROWS = 256, 35  # columns and rows of an expert's matrix
PADDED = 48


@pytest.mark.parametrize("how", ROUTERS, ids=lambda how: how.symbol)
def test_takes_the_largest_and_weighs_them(how: Router) -> None:
    rng, experts, used = np.random.default_rng(0), 78, 8
    logits = np.pad(3 * rng.standard_normal((5, experts)), ((0, 0), (0, -experts % 16)), constant_values=1e9).astype(np.float32)
    bias = rng.standard_normal(experts).astype(np.float32) if how.biased else None
    groups = (*GROUPS, how.best_of_group) if how.best_of_group else ()
    found = opencl.run(
        GpuRouter(how, experts), logits=logits, bias=bias, ids=np.full((5, 16), -7, np.int32),
        weights=np.full((5, 16), np.nan, np.float32), used=used, groups=3, groups_used=2, ld=logits.shape[1], ldo=16, scale=2.5,
        jitter=0.4, n_tokens=5,
    )  # fmt: skip
    ids, weights = reference.router(
        logits[:, :experts], used, how.gate, how.normalize, 2.5, bias=bias, groups=groups, jitter=np.float32(0.4)
    )
    assert np.array_equal(found["ids"][:, :used], ids) and (found["ids"][:, used:] == -7).all()
    np.testing.assert_allclose(found["weights"][:, :used], weights, rtol=1e-5)


def test_of_equal_logits_the_lower_id_comes_first_and_nans_stay_inside() -> None:
    logits = np.array([[1, 2, 2, 0, 2, -1], [0, 0, 0, 0, 0, 0], [np.nan] * 6], np.float32)
    found = opencl.run(
        GpuRouter(Router("softmax", False), 6), logits=logits, bias=None, ids=np.zeros((3, 4), np.int32),
        weights=np.zeros((3, 4), np.float32), used=4, groups=0, groups_used=0, ld=6, ldo=4, scale=1.0, jitter=0.0, n_tokens=3,
    )  # fmt: skip
    assert found["ids"][:2].tolist() == [[1, 2, 4, 0], [0, 1, 2, 3]]
    assert ((found["ids"] >= 0) & (found["ids"] < 6)).all()


@dataclass
class Step:
    """Pairs of a step, and what the sort makes of them."""

    tokens: int
    ids: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.tokens)
        choices = [rng.permutation(EXPERTS - 1)[:USED] for _ in range(self.tokens)]  # nobody goes to the last
        self.ids = np.full((self.tokens, 16), -7, np.int32)
        self.ids[:, :USED] = choices

    @property
    def token_tiles(self) -> int:
        pairs = self.tokens * USED
        return (pairs + (WIDTH - 1) * min(pairs, EXPERTS)) // WIDTH

    def sorted(self) -> dict[str, NDArray[Any]]:
        pairs, numbers = self.tokens * USED, {"experts": EXPERTS, "used": USED, "ldi": 16, "n_tokens": self.tokens}
        zeros = {"first": EXPERTS, "count": EXPERTS, "place": pairs, "source": pairs}
        found = opencl.run(GpuExpertSort(), ids=self.ids, **{k: np.full(n, -9, np.int32) for k, n in zeros.items()}, **numbers)
        tiles = opencl.run(
            GpuExpertTiles(EXPERTS), count=found["count"], tile_first=np.full(EXPERTS, -9, np.int32),
            tile_expert=np.full(self.token_tiles, -9, np.int32), width=WIDTH, tiles=self.token_tiles, n_tokens=self.tokens,
        )  # fmt: skip
        return found | tiles


@pytest.mark.parametrize("tokens", [1, TOKENS, 128])
def test_pairs_are_sorted_by_expert_and_cut_into_tiles(tokens: int) -> None:
    step = Step(tokens)
    found, experts = step.sorted(), step.ids[:, :USED].reshape(-1)
    order = np.argsort(experts, kind="stable")
    assert np.array_equal(found["count"], np.bincount(experts, minlength=EXPERTS))
    assert np.array_equal(found["first"], np.cumsum(found["count"]) - found["count"])
    assert np.array_equal(found["source"], order // USED)
    assert np.array_equal(found["place"][order], np.arange(len(order)))
    tiles = [e for e, n in enumerate(found["count"]) for _ in range(-(-n // WIDTH))]
    assert found["tile_expert"].tolist() == tiles + [-1] * (step.token_tiles - len(tiles))
    assert all(found["tile_first"][e] == tiles.index(e) for e in set(tiles))


def matrices(fmt: Format, rows: int, columns: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Of all experts: as numbers [E, rows, columns], and in tiles."""
    raw = [random_weight(fmt, rows, columns, np.random.default_rng(seed + e)) for e in range(EXPERTS)]
    numbers = np.stack([dequantize(fmt, r.reshape(-1)).reshape(rows, columns) for r in raw]).astype(np.float64)
    return numbers, np.concatenate([chunk for r in raw for chunk in pack(fmt, r, rows, columns)])


@pytest.mark.parametrize("width", [1, WIDTH])
@pytest.mark.parametrize(
    ("formats", "function", "bias"),
    [
        (("q4_k", "q4_k"), "silu", False),
        (("q8_0", "f16"), "silu", False),
        (("mxfp4", "mxfp4"), "clamped_silu", True),
        (("iq2_s",), "", False),
        (("q6_k",), "", True),
    ],
)
def test_products_of_experts(formats: tuple[str, ...], function: str, bias: bool, width: int) -> None:
    step, rng = Step(TOKENS), np.random.default_rng(3)
    kinds = tuple(FORMATS[name] for name in formats)
    weights = [matrices(fmt, ROWS, HIDDEN, 10 * i) for i, fmt in enumerate(kinds)]
    biases = [rng.standard_normal((EXPERTS, PADDED)).astype(np.float32) * bias for _ in "gu"]
    pairs = TOKENS * USED
    x = rng.standard_normal((TOKENS if function else pairs, HIDDEN)).astype(np.float32)
    table = step.sorted() if width > 1 else dict.fromkeys(("first", "count", "source", "tile_first", "tile_expert"))
    found = opencl.run(
        GpuExpertLinear(kinds, width, bias, function), w=weights[0][1], up=weights[-1][1], x=x, bias=biases[0], up_bias=biases[1],
        y=np.full((pairs, PADDED), np.nan, np.float32), ids=step.ids,
        **{name: table[name] for name in ("first", "count", "source", "tile_first", "tile_expert")},
        k=HIDDEN, tiles=PADDED // 16, ldx=HIDDEN, ldy=PADDED, ldi=16, used=USED,
        token_tiles=pairs if width == 1 else step.token_tiles, n_tokens=TOKENS,
    )["y"]  # fmt: skip
    place = np.arange(pairs) if width == 1 else table["place"]
    for pair, expert in enumerate(step.ids[:, :USED].reshape(-1)):
        row = x[pair // USED if function else place[pair]].astype(np.float64)
        made = [w[expert] @ row + b[expert, :ROWS] for (w, _), b in zip(weights, biases, strict=False)]
        expected = activation.reference(function, *made) if function else made[0]
        assert np.abs(found[place[pair], :ROWS] - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max()), pair


@pytest.mark.parametrize("placed", [False, True])
def test_the_sum_of_what_experts_made(placed: bool) -> None:
    rng, pairs = np.random.default_rng(4), TOKENS * USED
    rows, weights = rng.standard_normal((pairs, 320)).astype(np.float32), rng.random((TOKENS, 16)).astype(np.float32)
    place = rng.permutation(pairs).astype(np.int32)
    found = opencl.run(
        GpuExpertSum(placed), rows=rows, place=place, weights=weights, y=np.full((TOKENS, 320), np.nan, np.float32), n=300,
        used=USED, ldr=320, ldw=16, ldy=320, n_tokens=TOKENS,
    )["y"]  # fmt: skip
    taken = rows[place if placed else np.arange(pairs)].reshape(TOKENS, USED, 320).astype(np.float64)
    expected = (taken * weights[:, :USED, None]).sum(1)
    assert np.abs(found[:, :300] - expected[:, :300]).max() <= 1e-6 * np.abs(expected).max()
