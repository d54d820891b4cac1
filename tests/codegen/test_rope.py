"""Rotary kernels on every level this machine runs, against double precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.rope import Rope, RopeTable, reference, reference_table
from llmc.target import Isa
from tests.tolerance import F32_FUNCTION, F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]

SHAPES = ((128, 128), (80, 80), (96, 64), (6, 6), (10, 4), (2, 2))
SPECS = [Rope(d, rot, style) for d, rot in SHAPES for style in ("half", "interleaved")]
POSITIONS = np.array([0, 1, 2, 3, 63, 64, 511, 512, 4095, 65537, 131071, 999_999, 1_000_000], np.int32)


def frequencies(half: int, base: float = 10000.0) -> NDArray[np.float32]:
    return np.asarray(base ** (-np.arange(half) / half), np.float32)


def ids(spec: Any) -> str:
    return str(spec.symbol)


@pytest.mark.parametrize("spec", [RopeTable()], ids=ids)
@pytest.mark.parametrize("half", [1, 3, 8, 20, 64])
@pytest.mark.parametrize("scale", [1.0, 1.19])
def test_table_is_cos_and_sin(spec: RopeTable, isa: Isa, half: int, scale: float, compiled: Any, guarded: Guard) -> None:
    freqs, tokens = guarded(frequencies(half)), len(POSITIONS)
    table = guarded(np.full((tokens, 2 * half), np.nan, np.float32))
    compiled(spec, isa)(guarded(POSITIONS), freqs, table, half, scale, 0, tokens)
    wanted = reference_table(POSITIONS, freqs, float(np.float32(scale)))
    assert_sum_close(table, wanted, np.full_like(wanted, scale), F32_FUNCTION / 2)


@pytest.mark.parametrize("spec", [RopeTable()], ids=ids)
def test_table_in_every_octant(spec: RopeTable, isa: Isa, compiled: Any, guarded: Guard) -> None:
    freqs = guarded(np.linspace(0, 2 * np.pi, 257, dtype=np.float32))
    table = guarded(np.zeros((1, 514), np.float32))
    compiled(spec, isa)(guarded(np.array([1], np.int32)), freqs, table, 257, 1.0, 0, 1)
    wanted = reference_table(np.array([1], np.int32), freqs, 1.0)
    assert np.abs(table - wanted).max() <= 2.0**-24
    assert table[0, 0] == 1 and table[0, 257] == 0


@pytest.mark.parametrize("spec", [RopeTable()], ids=ids)
def test_table_of_other_tokens_is_left_alone(spec: RopeTable, isa: Isa, compiled: Any, guarded: Guard) -> None:
    freqs, table = guarded(frequencies(5)), guarded(np.full((4, 10), np.nan, np.float32))
    compiled(spec, isa)(guarded(POSITIONS[:4].copy()), freqs, table, 5, 1.0, 1, 3)
    assert np.isnan(table[[0, 3]]).all() and np.isfinite(table[1:3]).all()


@pytest.mark.parametrize("spec", SPECS, ids=ids)
def test_turns_pairs_of_features(spec: Rope, isa: Isa, compiled: Any, guarded: Guard) -> None:
    rng, tokens, heads = np.random.default_rng(1), 5, 3
    ld = -(-heads * spec.d // 16) * 16
    x = guarded(rng.standard_normal((tokens, ld)).astype(np.float32))
    table = guarded(reference_table(POSITIONS[4 : 4 + tokens], frequencies(spec.rot // 2), 1.0).astype(np.float32))
    before, used = x.copy(), heads * spec.d
    compiled(spec, isa)(x, table, heads, ld, 1, 4)
    features = before[:, :used].reshape(tokens, heads, spec.d)
    wanted = reference(features, table, spec.rot, spec.style).reshape(tokens, used)
    magnitude = reference(np.abs(features), np.abs(table), spec.rot, spec.style) + 2 * np.abs(features).max()
    assert_sum_close(x[1:4, :used], wanted[1:4], magnitude.reshape(tokens, used)[1:4], F32_SUM / 20)
    still = x[:, :used].reshape(tokens, heads, spec.d)[..., spec.rot :]
    assert still.tobytes() == features[..., spec.rot :].tobytes()
    assert x[[0, 4]].tobytes() == before[[0, 4]].tobytes() and x[:, used:].tobytes() == before[:, used:].tobytes()


@pytest.mark.parametrize("specs", [(Rope(64, 64, "half"), Rope(64, 64, "interleaved"))], ids=["styles"])
def test_styles_differ_by_the_order_of_features(specs: tuple[Rope, Rope], isa: Isa, compiled: Any, guarded: Guard) -> None:
    half, interleaved = specs
    x = np.random.default_rng(2).standard_normal((1, 64)).astype(np.float32)
    table = guarded(reference_table(POSITIONS[5:6], frequencies(32), 1.0).astype(np.float32))
    order = np.arange(64).reshape(2, 32).T.reshape(-1)  # interleaved feature i is feature order[i] of "half"
    a, b = guarded(x), guarded(x[:, order])
    compiled(half, isa)(a, table, 1, 64, 0, 1)
    compiled(interleaved, isa)(b, table, 1, 64, 0, 1)
    assert a[:, order].tobytes() == b.tobytes()


def test_refuses_what_cannot_be_rotated() -> None:
    for wrong in ((64, 63, "half"), (64, 66, "half"), (64, 0, "half"), (64, 64, "neox")):
        with pytest.raises(ValueError, match="rot|style"):
            Rope(*wrong)
