"""The kernels of recurrent layers on every level this machine runs, against the token by token references in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.delta_rule import DeltaRule
from llmc.codegen.kernels.gated_norm import GATES, GatedNorm
from llmc.codegen.kernels.selective_scan import SelectiveScan
from llmc.codegen.kernels.ssd import Ssd
from llmc.ir import recurrence
from llmc.target import Isa

Guard = Callable[[NDArray[Any]], NDArray[Any]]
Rows = NDArray[np.float32]
TOKENS = 37  # more than a chunk
CUTS = ((0, 1), (1, 2), (2, 36), (36, 37))
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def padded(n: int) -> int:
    return -(-n // 16) * 16


def random(shape: tuple[int, ...], guard: Guard, scale: float = 1.0) -> Rows:
    """Rows padded with zeros to 16 columns."""
    x = np.zeros((*shape[:-1], padded(shape[-1])), np.float32)
    x[..., : shape[-1]] = scale * np.random.default_rng(len(shape) + shape[-1]).standard_normal(shape)
    return guard(x)


def blocks(state: NDArray[np.floating]) -> Rows:
    """[heads, channels, features] as kernels have it: [heads][channels / 16][features][16]."""
    heads, channels, features = state.shape
    wide = np.zeros((heads, padded(channels), features), np.float32)
    wide[:, :channels] = state
    return np.ascontiguousarray(wide.reshape(heads, -1, 16, features).transpose(0, 1, 3, 2))


class SsdCase:
    def __init__(self, spec: Ssd, guard: Guard) -> None:
        self.spec, self.heads, self.groups = spec, 4, 2
        self.inner, columns = self.heads * spec.head_dim, self.heads * spec.head_dim + 2 * self.groups * spec.features
        self.x, self.columns = random((TOKENS, columns), guard), columns
        self.dt, self.bias = random((TOKENS, self.heads), guard), random((self.heads,), guard)
        self.a, self.d = -np.abs(random((self.heads + 16,), guard))[: self.heads], random((self.heads,), guard, 0.5)
        shape = (self.heads, spec.head_dim, spec.features)
        self.start = 0.3 * np.random.default_rng(3).standard_normal(shape)
        self.state, self.y = guard(blocks(self.start)), guard(np.full((TOKENS, padded(self.inner)), np.nan, np.float32))
        self.a = np.ascontiguousarray(self.a)

    def run(self, kernel: Callable[..., None], head: int, lo: int, hi: int) -> None:
        b_at = self.inner + head // 2 * self.spec.features
        lds = self.x.shape[1], self.dt.shape[1], self.y.shape[1]
        pointers = self.x, self.dt, self.bias, self.a, self.d, self.y, self.state
        kernel(*pointers, head, b_at, b_at + self.groups * self.spec.features, *lds, 0.05, 2.0, lo, hi)

    def expected(self) -> tuple[NDArray[Any], NDArray[Any]]:
        dt, vectors = self.dt[:, : self.heads], (self.bias[: self.heads], self.a, self.d[: self.heads])
        return recurrence.ssd(self.start, self.x[:, : self.columns], dt, *vectors, self.groups, (0.05, 2.0))


SSD = [Ssd(32, 16), Ssd(24, 20), Ssd(8, 33), Ssd(64, 128)]


@pytest.mark.parametrize("spec", SSD, ids=lambda s: s.symbol)
def test_heads_of_one_decay(spec: Ssd, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = SsdCase(spec, guarded)
    y, state = case.expected()
    for head in range(case.heads):
        case.run(compiled(spec, isa), head, 0, TOKENS)
    np.testing.assert_allclose(case.y[:, : case.inner], y, **CLOSE)
    np.testing.assert_allclose(case.state, blocks(state), **CLOSE)


@pytest.mark.parametrize("spec", SSD[:3], ids=lambda s: s.symbol)
def test_heads_of_one_decay_in_pieces_to_the_bit(spec: Ssd, isa: Isa, compiled: Any, guarded: Guard) -> None:
    whole, cut = SsdCase(spec, guarded), SsdCase(spec, guarded)
    whole.run(compiled(spec, isa), 1, 0, TOKENS)
    for lo, hi in CUTS:
        cut.run(compiled(spec, isa), 1, lo, hi)
    assert whole.y.tobytes() == cut.y.tobytes() and whole.state.tobytes() == cut.state.tobytes()


class DeltaCase:
    def __init__(self, spec: DeltaRule, guard: Guard) -> None:
        self.spec, self.heads, self.key_heads = spec, 4, 2
        self.keys, self.values = self.key_heads * spec.key_dim, self.heads * spec.value_dim
        self.x, self.dt = random((TOKENS, 2 * self.keys + self.values), guard), random((TOKENS, self.heads), guard)
        self.beta, self.bias = guard(self.dt[::-1].copy()), random((self.heads,), guard)
        self.a = guard(np.array([-0.01, -0.3, -1.0, -4.0], np.float32))
        self.start = 0.3 * np.random.default_rng(3).standard_normal((self.heads, spec.value_dim, spec.key_dim))
        self.state, self.y = guard(blocks(self.start)), guard(np.full((TOKENS, padded(self.values)), np.nan, np.float32))

    def run(self, kernel: Callable[..., None], head: int, lo: int, hi: int, tiled: bool = False) -> None:
        q_at = (head % 2 if tiled else head // 2) * self.spec.key_dim
        places = q_at, self.keys + q_at, 2 * self.keys + head * self.spec.value_dim
        lds = self.x.shape[1], self.dt.shape[1], self.y.shape[1]
        kernel(self.x, self.dt, self.beta, self.bias, self.a, self.y, self.state, head, *places, *lds, lo, hi)

    def expected(self, tiled: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        x, n = self.x[:, : 2 * self.keys + self.values], self.heads
        return recurrence.delta_rule(
            self.start, x, self.dt[:, :n], self.beta[:, :n], self.bias[:n], self.a, self.key_heads, tiled
        )


DELTA = [DeltaRule(32, 32), DeltaRule(16, 24), DeltaRule(20, 8), DeltaRule(128, 128)]


@pytest.mark.parametrize("spec", DELTA, ids=lambda s: s.symbol)
@pytest.mark.parametrize("tiled", [False, True])
def test_delta_rule(spec: DeltaRule, isa: Isa, tiled: bool, compiled: Any, guarded: Guard) -> None:
    case = DeltaCase(spec, guarded)
    y, state = case.expected(tiled)
    for head in range(case.heads):
        case.run(compiled(spec, isa), head, 0, TOKENS, tiled)
    np.testing.assert_allclose(case.y[:, : case.values], y, **CLOSE)
    np.testing.assert_allclose(case.state, blocks(state), **CLOSE)


@pytest.mark.parametrize("spec", DELTA[:3], ids=lambda s: s.symbol)
def test_delta_rule_in_pieces_to_the_bit(spec: DeltaRule, isa: Isa, compiled: Any, guarded: Guard) -> None:
    whole, cut = DeltaCase(spec, guarded), DeltaCase(spec, guarded)
    whole.run(compiled(spec, isa), 2, 0, TOKENS)
    for lo, hi in CUTS:
        cut.run(compiled(spec, isa), 2, lo, hi)
    assert whole.y.tobytes() == cut.y.tobytes() and whole.state.tobytes() == cut.state.tobytes()


class ScanCase:
    def __init__(self, spec: SelectiveScan, channels: int, guard: Guard) -> None:
        self.spec, self.channels, self.ld = spec, channels, padded(channels)
        self.x, self.dt = random((TOKENS, channels), guard), random((TOKENS, channels), guard, 2.0)
        self.b, self.c = random((TOKENS, spec.features), guard), random((TOKENS, spec.features), guard, -0.5)
        self.a, self.d = -np.abs(random((spec.features, channels), guard)), random((channels,), guard)
        self.start = 0.3 * np.random.default_rng(3).standard_normal((channels, spec.features))
        self.state, self.y = guard(blocks(self.start[None])[0]), guard(np.full((TOKENS, self.ld), np.nan, np.float32))

    def run(self, kernel: Callable[..., None], first: int, last: int, lo: int, hi: int) -> None:
        pointers = self.x, self.dt, self.b, self.c, self.a, self.d, self.y, self.state
        kernel(*pointers, self.ld, self.b.shape[1], first, last, lo, hi)

    def expected(self) -> tuple[NDArray[Any], NDArray[Any]]:
        n, f = self.channels, self.spec.features
        a, vectors = self.a[:, :n].T, (self.b[:, :f], self.c[:, :f])
        return recurrence.selective_scan(self.start, self.x[:, :n], self.dt[:, :n], *vectors, a, self.d[:n])


SCAN = [SelectiveScan(16), SelectiveScan(20), SelectiveScan(5)]


@pytest.mark.parametrize("spec", SCAN, ids=lambda s: s.symbol)
@pytest.mark.parametrize("channels", [16, 40])
def test_channels_of_many_decays(spec: SelectiveScan, isa: Isa, channels: int, compiled: Any, guarded: Guard) -> None:
    case = ScanCase(spec, channels, guarded)
    y, state = case.expected()
    case.run(compiled(spec, isa), 0, case.ld // 16, 0, TOKENS)
    np.testing.assert_allclose(case.y[:, :channels], y, **CLOSE)
    np.testing.assert_allclose(case.state, blocks(state[None])[0], **CLOSE)
    assert not case.y[:, channels:].any()


@pytest.mark.parametrize("spec", SCAN, ids=lambda s: s.symbol)
def test_channels_of_many_decays_in_pieces_to_the_bit(spec: SelectiveScan, isa: Isa, compiled: Any, guarded: Guard) -> None:
    whole, cut = ScanCase(spec, 48, guarded), ScanCase(spec, 48, guarded)
    whole.run(compiled(spec, isa), 0, 3, 0, TOKENS)
    for block in range(3):
        for lo, hi in CUTS:
            cut.run(compiled(spec, isa), block, block + 1, lo, hi)
    assert whole.y.tobytes() == cut.y.tobytes() and whole.state.tobytes() == cut.state.tobytes()


@pytest.mark.parametrize("spec", [GatedNorm(d, gate) for d in (32, 24) for gate in GATES], ids=lambda s: s.symbol)
@pytest.mark.parametrize("shared", [False, True])
def test_gated_norm(spec: GatedNorm, isa: Isa, shared: bool, compiled: Any, guarded: Guard) -> None:
    groups, n = 3, 3 * spec.d
    x, z, w = random((4, n), guarded), random((4, n), guarded, -2.0), random((n,), guarded)
    before = x[:, :n].astype(np.float64)
    compiled(spec, isa)(x, z, w, groups, 0 if shared else spec.d, x.shape[1], z.shape[1], 1e-5, 1, 3)
    gate = z[:, :n] / (1 + np.exp(-z[:, :n].astype(np.float64)))
    heads = (before * gate if spec.gate == "before" else before).reshape(4, groups, spec.d)
    heads = heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-5)
    wanted = (heads * (w[: spec.d] if shared else w[:n].reshape(groups, spec.d))).reshape(4, n)
    wanted = wanted * gate if spec.gate == "after" else wanted
    np.testing.assert_allclose(x[1:3, :n], wanted[1:3], **CLOSE)
    assert (x[[0, 3], :n] == before[[0, 3]]).all()
