"""The append to the KV cache on every level this machine runs: exact bytes, and nothing else touched."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.kv_append import DTYPES, KvAppend, kept, layer_bytes, reference
from llmc.codegen.kernels.rope import Rope, reference_table
from llmc.target import Isa

Guard = Callable[[NDArray[Any]], NDArray[Any]]

PLAIN = [KvAppend(d, dtype) for d in (2, 6, 80, 128) for dtype in DTYPES]
ROTATED = [
    (KvAppend(d, dtype, rot, style), Rope(d, rot, style))
    for d, rot, dtype, style in (
        (64, 64, "q8", "half"), (80, 32, "q8", "interleaved"),
        (128, 128, "f16", "half"), (64, 64, "f16", "interleaved"), (80, 32, "f32", "half"), (6, 4, "f16", "interleaved"),
    )
]  # fmt: skip
HEADS, PAGES = 3, 5
SPECIAL = np.array(
    [0.0, -0.0, 1.0, 65504.0, 65519.9, 65520.0, -1e9, np.inf, 6.1e-5, 5.97e-8, 2.98e-8, 2.981e-8, 1e-9, -3e-6, 1 + 2**-11,
     1 + 3 * 2**-11, 2049.0, 2051.0, 0.1, -0.3],
    np.float32,
)  # fmt: skip


class Case:
    """A pool of pages holding a pattern, and tokens for one sequence whose pages are in any order."""

    def __init__(self, d: int, dtype: str, positions: NDArray[np.int32], guard: Guard) -> None:
        rng = np.random.default_rng(d)
        self.d, self.positions = d, guard(positions)
        self.k, self.v = (guard(rng.standard_normal((len(positions), HEADS, d)).astype(np.float32)) for _ in range(2))
        page_bytes = layer_bytes(HEADS, d, dtype) + 128  # another layer's bytes between pages
        self.pool = guard(np.full((PAGES, page_bytes), 0xA5, np.uint8))
        self.pages = guard(np.array([3, 0, 4, 1], np.int32))

    def run(self, kernel: Callable[..., None], table: NDArray[np.float32] | None, lo: int, hi: int) -> None:
        ld = HEADS * self.d
        kernel(self.k, self.v, table, self.pool, self.pages, self.positions, HEADS, ld, ld, self.pool.shape[1], lo, hi)


def ids(spec: Any) -> str:
    return str(spec.symbol)


@pytest.mark.parametrize("first", [0, 62, 125])
@pytest.mark.parametrize("spec", PLAIN, ids=ids)
def test_writes_the_tokens_and_nothing_else(spec: KvAppend, isa: Isa, first: int, compiled: Any, guarded: Guard) -> None:
    case = Case(spec.d, spec.dtype, np.arange(first, first + 9, dtype=np.int32), guarded)
    wanted = case.pool.copy()
    reference(wanted, case.pages, case.positions[1:8], case.k[1:8], case.v[1:8], spec.dtype)
    kernel = compiled(spec, isa)
    case.run(kernel, None, 4, 8)
    case.run(kernel, None, 1, 4)
    assert case.pool.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("spec", [KvAppend(len(SPECIAL), "f16")], ids=ids)
def test_rounds_to_the_nearest_half_ties_to_even(spec: KvAppend, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec.d, "f16", np.arange(2, dtype=np.int32), guarded)
    case.k[...], case.v[...] = SPECIAL, -SPECIAL
    wanted = case.pool.copy()
    with np.errstate(over="ignore"):
        reference(wanted, case.pages, case.positions, case.k, case.v, "f16")
    case.run(compiled(spec, isa), None, 0, 2)
    assert case.pool.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("specs", ROTATED, ids=lambda s: s[0].symbol)
def test_keys_rotate_as_by_the_rope_kernel(specs: tuple[KvAppend, Rope], isa: Isa, compiled: Any, guarded: Guard) -> None:
    append, rope = specs
    case = Case(append.d, append.dtype, np.arange(60, 70, dtype=np.int32), guarded)
    freqs = np.asarray(1000.0 ** -np.linspace(0, 1, append.rot // 2), np.float32)
    table = guarded(reference_table(case.positions, freqs, 1.0).astype(np.float32))
    wanted, rotated = case.pool.copy(), case.k.copy()
    compiled(rope, isa)(rotated, table, HEADS, HEADS * append.d, 0, 10)
    reference(wanted, case.pages, case.positions, rotated, case.v, append.dtype)
    keys = case.k.copy()
    case.run(compiled(append, isa), table, 0, 10)
    assert case.pool.tobytes() == wanted.tobytes()
    assert case.k.tobytes() == keys.tobytes()


def test_refuses_what_the_cache_cannot_hold() -> None:
    for wrong in ((63, "f16"), (0, "f16"), (64, "bf16")):
        with pytest.raises(ValueError, match="features|KV cache"):
            KvAppend(*wrong)


def test_int8_is_off_by_half_a_step_at_most_and_keeps_zeros() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((50, 3, 64)) * 10.0 ** rng.integers(-30, 30, (50, 3, 1))).astype(np.float32)
    x[7] = 0
    largest = np.abs(x).max(axis=2, keepdims=True)
    assert (np.abs(kept(x, "q8").astype(np.float64) - x) <= largest * (1 / 254 + 1e-6)).all()
    assert not kept(x, "q8")[7].any()


@pytest.mark.parametrize("spec", [KvAppend(6, "q8"), KvAppend(80, "q8")], ids=ids)
def test_int8_of_extreme_sizes(spec: KvAppend, isa: Isa, compiled: Any, guarded: Guard) -> None:
    """Zero, and magnitudes whose inverse is not a number that f32 has."""
    case = Case(spec.d, "q8", np.arange(6, dtype=np.int32), guarded)
    for t, size in enumerate([0.0, 1e-44, 1e-38, 1e37, -3e-39, -1.0]):
        case.k[t], case.v[t] = case.k[t] * np.float32(size), size
    wanted = case.pool.copy()
    reference(wanted, case.pages, case.positions, case.k, case.v, "q8")
    case.run(compiled(spec, isa), None, 0, 6)
    assert case.pool.tobytes() == wanted.tobytes()
