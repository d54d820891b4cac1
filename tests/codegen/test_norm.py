"""Norm kernels on every level this machine runs, against double precision; their int8 form to the bit."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.norm import NORMS, HeadNorm, Norm, reference, reference_layer
from llmc.target import Isa
from tests.codegen import q8
from tests.tolerance import F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]

EPS, ALPHA = 1e-5, 0.75
SPECS = [
    Norm(add, norm, f32, quantised)
    for add, norm, f32, quantised in product((False, True), NORMS, (False, True), ("", "q8"))
    if (add or norm or quantised) and (add or f32 or quantised)
]
SUPER = [Norm(False, "", False, "q8_256"), Norm(True, "rms", True, "q8_256"), Norm(False, "layer", True, "q8_256")]
SPECS += SUPER
ALL = [Norm(add=True, norm=norm, f32=True, q8="q8") for norm in ("rms", "layer")]
QUANTISE = Norm(add=False, norm="", f32=False, q8="q8")
TOKENS = (1, 2, 3, 5, 9, 16, 17, 19, 32, 45)


def wide(spec: Norm, n: int) -> int:
    """n columns, or whole super-blocks where the form wants them."""
    return 512 if spec.q8 == "q8_256" else n


def rows(rng: np.random.Generator, tokens: int, n: int, ld: int) -> NDArray[np.float32]:
    """Random rows of very different size, padded with zeros."""
    x = np.zeros((tokens, ld), np.float32)
    x[:, :n] = rng.standard_normal((tokens, n)) * 10.0 ** rng.integers(-3, 4, (tokens, 1))
    return x


class Case:
    """A batch of rows and what one kernel makes of it."""

    def __init__(self, spec: Norm, tokens: int, n: int, guard: Guard, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.spec, self.n, self.tokens, self.ld = spec, n, tokens, -(-n // 16) * 16
        self.x, self.o = (guard(rows(rng, tokens, n, self.ld)) for _ in range(2))
        self.w, self.b = (guard(rows(rng, 1, n, self.ld)[0]) for _ in range(2))
        self.y = guard(np.full((tokens, self.ld), np.nan, np.float32))
        blank = q8.blank(tokens, n if n % 32 == 0 else 32)
        self.tiles = q8.Tiles(*(guard(a) for a in blank.arrays))
        self.before = self.x.copy()

    def run(self, kernel: Callable[..., None], lo: int, hi: int, source: NDArray[np.int32] | None = None) -> None:
        ld = self.ld
        rest = (source, self.n, ld, ld, ld, EPS, ALPHA, self.tokens, lo, hi)
        kernel(self.x, self.o, self.w, self.b, self.y, *self.tiles.arrays, *rest)

    @property
    def summed(self) -> NDArray[np.float64]:
        return self.before + np.float64(ALPHA) * self.o if self.spec.add else self.before.astype(np.float64)

    @property
    def wanted(self) -> NDArray[np.float64]:
        x, w = self.summed[:, : self.n], self.w[: self.n]
        if self.spec.norm == "layer":
            return reference_layer(x, w, np.zeros(self.n) if self.b is None else self.b[: self.n], EPS)
        return reference(x, w, EPS) if self.spec.norm else x

    @property
    def centred(self) -> NDArray[np.float64]:
        """What the norm divides by its root mean square."""
        x = self.summed[:, : self.n]
        return x - x.mean(axis=1, keepdims=True) if self.spec.norm == "layer" else x

    def assert_close(self) -> None:
        """x and y against the reference, relative to the magnitudes that were added."""
        added = np.abs(self.before) + (np.float64(ALPHA) * np.abs(self.o) if self.spec.add else 0)
        assert_sum_close(self.x, self.summed, added, F32_SUM)
        if self.spec.f32:
            size = np.sqrt((self.centred**2).mean(axis=1, keepdims=True) + EPS)
            share = np.abs(self.w[: self.n]) / size if self.spec.norm else 1.0
            added = added[:, : self.n] + (np.abs(self.summed).mean(axis=1, keepdims=True) if self.spec.norm == "layer" else 0)
            added = added * share + (np.abs(self.b[: self.n]) if self.spec.norm == "layer" and self.b is not None else 0)
            assert_sum_close(self.y[:, : self.n], self.wanted, added, F32_SUM)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.symbol)
def test_rows_are_what_the_formula_says(spec: Norm, isa: Isa, tokens: int, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, tokens, wide(spec, 96), guarded)
    case.run(compiled(spec, isa), 0, q8.padded(tokens) if spec.q8 else tokens)
    case.assert_close()
    if not spec.add:
        assert case.x.tobytes() == case.before.tobytes()
    assert spec.f32 or np.isnan(case.y).all()
    assert spec.q8 or case.tiles.same(q8.blank(tokens, 96))


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("spec", [s for s in SPECS if s.q8 and s.f32], ids=lambda s: s.symbol)
def test_the_int8_form_is_that_of_the_floats_to_the_bit(spec: Norm, isa: Isa, tokens: int, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, tokens, wide(spec, 160), guarded, seed=tokens)
    case.run(compiled(spec, isa), 0, q8.padded(tokens))
    assert case.tiles.same(q8.expected(case.y, spec.q8))


BOTH = [tuple(s for s in SPECS if s.q8 == "q8" and s.norm == norm) for norm in ("rms", "layer")]


@pytest.mark.parametrize("specs", BOTH, ids=str)
def test_both_forms_come_from_the_same_floats(specs: tuple[Norm, ...], isa: Isa, compiled: Any, guarded: Guard) -> None:
    for add in (False, True):
        made = []
        for spec in (s for s in specs if s.add == add):
            case = Case(spec, 21, 128, guarded)
            case.run(compiled(spec, isa), 0, q8.padded(21))
            made.append(case.tiles)
        assert made[0].same(made[1])


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.symbol)
def test_the_split_among_workers_changes_no_bit(spec: Norm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    together, apart = (Case(spec, 21, 4096, guarded) for _ in range(2))
    together.run(compiled(spec, isa), 0, 24)
    for lo, hi in ((7, 22), (0, 1), (22, 24), (1, 7)):
        apart.run(compiled(spec, isa), lo, hi)
    assert together.tiles.same(apart.tiles)
    assert together.y.tobytes() == apart.y.tobytes() and together.x.tobytes() == apart.x.tobytes()


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.symbol)
def test_nothing_outside_the_range_is_written(spec: Norm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 19, 64, guarded)
    case.run(compiled(spec, isa), 3, 5)
    assert np.isnan(case.y[[0, 1, 2, *range(5, 19)]]).all()
    assert case.x[5:].tobytes() == case.before[5:].tobytes()
    da = case.tiles.da[: 16 * 2].reshape(2, 16)  # [block][token] of the first tile
    assert np.isfinite(da[:, 3:5]).all() and np.isnan(da[:, :3]).all() and np.isnan(da[:, 5:]).all()
    assert np.isnan(case.tiles.da[32:]).all()


@pytest.mark.parametrize("spec", [Norm(False, norm, True, "") for norm in ("rms", "layer")], ids=lambda s: s.symbol)
@pytest.mark.parametrize("n", [1, 7, 16, 40, 200])
def test_any_width_and_the_mean_over_true_columns(spec: Norm, isa: Isa, n: int, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 3, n, guarded)
    case.run(compiled(spec, isa), 0, 3)
    case.assert_close()
    assert not case.y[:, n:].any()


@pytest.mark.parametrize("spec", [Norm(False, "layer", True, "")], ids=lambda s: s.symbol)
def test_a_layer_norm_may_have_no_bias_and_a_large_mean(spec: Norm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 3, 200, guarded)
    case.b = None
    case.x[:, : case.n] += 10 * np.abs(case.x).max(axis=1, keepdims=True)
    case.before = case.x.copy()
    case.run(compiled(spec, isa), 0, 3)
    case.assert_close()


@pytest.mark.parametrize("spec", [Norm(False, "rms", True, "q8")], ids=lambda s: s.symbol)
def test_takes_the_named_rows(spec: Norm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    whole, some = Case(spec, 9, 64, guarded), Case(spec, 3, 64, guarded)
    whole.run(compiled(spec, isa), 0, 16)
    some.x = whole.x
    some.w = whole.w
    some.run(compiled(spec, isa), 0, 4, guarded(np.array([8, 2, 2], np.int32)))
    assert some.y.tobytes() == whole.y[[8, 2, 2]].tobytes()
    assert some.tiles.same(q8.expected(whole.y[[8, 2, 2]]))


@pytest.mark.parametrize("spec", [QUANTISE], ids=lambda s: s.symbol)
def test_quantises_extremes(spec: Norm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 4, 64, guarded)
    case.x[...] = 0
    case.x[0, 5], case.x[0, 37] = 3.0e38, -1e-30
    case.x[1, :32] = np.arange(-16, 16) + 0.5  # with 127/amax not a power of two
    case.x[2, :32] = np.linspace(-127, 127, 32)  # codes with a tie at the middle
    case.x[3, :3] = 127, 0.5, 1.5  # ties go to the even code
    case.run(compiled(spec, isa), 0, 4)
    assert case.tiles.same(q8.expected(case.x))
    assert case.tiles.qa.reshape(2, 4, 32)[0, 3, :3].tolist() == [127, 0, 2]


@pytest.mark.parametrize("spec", SUPER[:1], ids=lambda s: s.symbol)
def test_quantises_extremes_of_super_blocks(spec: Norm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 4, 768, guarded)
    case.x[...] = 0
    case.x[0, 5], case.x[0, 600] = 3.0e38, -1e-30
    case.x[1, :256] = 127  # sums as large as they can be
    case.x[2, 256:512] = -127
    case.x[3, :3] = 127, 0.5, 1.5  # ties go to the even code
    case.run(compiled(spec, isa), 0, 4)
    assert case.tiles.same(q8.expected(case.x, spec.q8))


@pytest.mark.parametrize("spec", [HeadNorm(d) for d in (2, 6, 64, 72, 80, 96, 128)], ids=lambda s: s.symbol)
def test_normalises_every_head_in_place(spec: HeadNorm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    rng = np.random.default_rng(5)
    heads, tokens = 3, 5
    ld = -(-heads * spec.d // 16) * 16
    x = guarded(rows(rng, tokens, ld, ld))
    w = guarded(rng.standard_normal(spec.d).astype(np.float32))
    before = x.copy()
    compiled(spec, isa)(x, w, heads, ld, EPS, 1, 4)
    used = heads * spec.d
    wanted = reference(before[1:4, :used].reshape(3, heads, spec.d), w, EPS).reshape(3, used)
    assert_sum_close(x[1:4, :used], wanted, np.abs(wanted), F32_SUM)
    assert x[[0, 4]].tobytes() == before[[0, 4]].tobytes() and x[:, used:].tobytes() == before[:, used:].tobytes()


@pytest.mark.parametrize("spec", [HeadNorm(d, "layer") for d in (2, 6, 64, 72, 80, 128)], ids=lambda s: s.symbol)
def test_every_head_has_a_layer_norm_of_its_own(spec: HeadNorm, isa: Isa, compiled: Any, guarded: Guard) -> None:
    rng = np.random.default_rng(6)
    heads, tokens = 3, 5
    ld, each = -(-heads * spec.d // 16) * 16, -(-spec.d // 16) * 16
    x = guarded(rng.standard_normal((tokens, ld)).astype(np.float32) + 1)
    w = guarded(rng.standard_normal((heads, each)).astype(np.float32))
    before = x.copy()
    compiled(spec, isa)(x, w.reshape(-1), heads, ld, EPS, 1, 4)
    used = heads * spec.d
    wanted = reference_layer(before[1:4, :used].reshape(3, heads, spec.d), w[:, : spec.d], np.zeros(spec.d), EPS).reshape(3, used)
    assert np.abs(x[1:4, :used] - wanted).max() < 3e-5 * np.abs(wanted).max() + 1e-3 * (spec.d == 2)
    assert x[[0, 4]].tobytes() == before[[0, 4]].tobytes() and x[:, used:].tobytes() == before[:, used:].tobytes()


def test_refuses_kernels_that_do_nothing() -> None:
    for nothing in ((False, "", True, ""), (False, "rms", False, "")):
        with pytest.raises(ValueError, match="norm kernel"):
            Norm(*nothing)
