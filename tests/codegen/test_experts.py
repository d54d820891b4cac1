"""The kernels around experts: who goes where, and what comes back, on every level this machine runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels import expert_sum
from llmc.codegen.kernels.expert_sum import ExpertSum
from llmc.codegen.kernels.router import GATES, Router
from llmc.ir import reference
from llmc.target import Isa
from tests.tolerance import F32_FUNCTION, F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]

ROUTERS = [Router(gate, normalize) for gate in GATES for normalize in (False, True)]
every_router = pytest.mark.parametrize("spec", ROUTERS, ids=lambda s: s.symbol)


def route(kernel: Callable[..., None], logits: NDArray[np.float32], used: int, guard: Guard, scale: float = 1.0) -> Any:
    """(ids, weights) [T, used], with the columns a row is padded to left out of the result and out of reach."""
    tokens, n = logits.shape
    padded = guard(np.pad(logits, ((0, 0), (0, -n % 16)), constant_values=1e9))  # larger than any: must not be looked at
    ids, weights = guard(np.full((tokens, 16), -7, np.int32)), guard(np.full((tokens, 16), np.nan, np.float32))
    kernel(padded, ids, weights, n, used, padded.shape[1], 16, scale, 0, tokens)
    assert (ids[:, used:] == -7).all() and np.isnan(weights[:, used:]).all()
    return ids[:, :used], weights[:, :used]


@every_router
@pytest.mark.parametrize(("experts", "used"), [(1, 1), (5, 2), (8, 8), (60, 4), (129, 8)])
def test_takes_the_largest_and_weighs_them(
    spec: Router, isa: Isa, experts: int, used: int, compiled: Any, guarded: Guard
) -> None:
    logits = 3 * np.random.default_rng(experts).standard_normal((9, experts)).astype(np.float32)
    ids, weights = route(compiled(spec, isa), logits, used, guarded, 2.5)
    wanted_ids, wanted = reference.router(logits, used, spec.gate, spec.normalize, 2.5)
    assert np.array_equal(ids, wanted_ids)
    np.testing.assert_allclose(weights, wanted, rtol=4 * F32_FUNCTION + experts * 2**-24, atol=0)


@every_router
def test_of_equal_logits_the_lower_id_comes_first(spec: Router, isa: Isa, compiled: Any, guarded: Guard) -> None:
    logits = np.array([[1, 2, 2, 0, 2, -1], [0, 0, 0, 0, 0, 0], [-1, -5, -1, -1, -9, 3]], np.float32)
    ids, weights = route(compiled(spec, isa), logits, 4, guarded)
    assert ids.tolist() == [[1, 2, 4, 0], [0, 1, 2, 3], [5, 0, 2, 3]]
    assert weights[1].tolist() == [weights[1][0]] * 4


@pytest.mark.parametrize("spec", [Router("softmax", True)], ids=lambda s: s.symbol)
def test_far_apart_logits_do_not_overflow(spec: Router, isa: Isa, compiled: Any, guarded: Guard) -> None:
    ids, weights = route(compiled(spec, isa), np.array([[3e38, -3e38, 0, 1e30]], np.float32), 2, guarded)
    assert ids.tolist() == [[0, 3]] and abs(weights[0, 0] - 1) < 1e-6 and 0 <= weights[0, 1] < 1e-37


@every_router
def test_ids_name_an_expert_whatever_the_logits_are(spec: Router, isa: Isa, compiled: Any, guarded: Guard) -> None:
    for value in (np.nan, np.inf, -np.inf):
        logits = np.full((2, 6), value, np.float32)
        logits[1, 3] = 1.0
        ids, _ = route(compiled(spec, isa), logits, 5, guarded)
        assert ((ids >= 0) & (ids < 6)).all()


def test_a_router_has_a_known_gate() -> None:
    with pytest.raises(ValueError, match="softmax, sigmoid"):
        Router("tanh", True)


@pytest.mark.parametrize("spec", [ExpertSum()], ids=lambda s: s.symbol)
@pytest.mark.parametrize(("n", "used"), [(16, 1), (40, 2), (272, 8)])
def test_sums_in_the_order_of_the_slots(spec: ExpertSum, isa: Isa, n: int, used: int, compiled: Any, guarded: Guard) -> None:
    rng = np.random.default_rng(n)
    tokens, ld = 5, -(-n // 16) * 16
    rows = guarded(rng.standard_normal((tokens * used + 3, ld)).astype(np.float32))
    place = guarded(rng.permutation(len(rows))[: tokens * used].astype(np.int32).reshape(tokens, used))
    weights = guarded(rng.standard_normal((tokens, 16)).astype(np.float32))
    y = guarded(np.full((tokens, ld), np.nan, np.float32))
    compiled(spec, isa)(rows, place, weights, y, n, used, ld, 16, ld, 1, 4)
    chosen, factors = rows[place], weights[:, :used]
    wanted, l1 = expert_sum.reference(rows, place, factors), expert_sum.reference(np.abs(rows), place, np.abs(factors))
    assert_sum_close(y[1:4], wanted[1:4], l1[1:4], F32_SUM)
    assert np.isnan(y[[0, 4]]).all()
    if used == 1:
        assert y[1:4].tobytes() == (chosen[1:4, 0] * factors[1:4]).tobytes()
