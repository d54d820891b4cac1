"""The kernels around experts: who goes where, and what comes back, on every level this machine runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels import expert_sum
from llmc.codegen.kernels.expert_sum import ExpertSum
from llmc.codegen.kernels.gate_rows import GateRows
from llmc.codegen.kernels.router import Router
from llmc.ir import reference
from llmc.ir.ops import CATALOGUE
from llmc.target import Isa
from tests.tolerance import F32_FUNCTION, F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]

ROUTERS = [
    *(Router(gate, normalize) for gate in ("softmax", "sigmoid") for normalize in (False, True)),
    *(Router(gate, True, biased=True) for gate in ("softmax", "sigmoid")),
    Router("softmax", False, best_of_group=1), Router("sigmoid", True, best_of_group=2, biased=True),
    Router("sparsemixer", False),
]  # fmt: skip
BY_LOGIT = [spec for spec in ROUTERS if not spec.has_choices]
every_router = pytest.mark.parametrize("spec", ROUTERS, ids=lambda s: s.symbol)
every_router_by_logit = pytest.mark.parametrize("spec", BY_LOGIT, ids=lambda s: s.symbol)
GROUPS = (3, 2)  # how many, how many are used


def route(
    kernel: Callable[..., None], spec: Router, logits: NDArray[np.float32], used: int, guard: Guard, scale: float = 1.0,
    bias: NDArray[np.float32] | None = None, jitter: float = 0.0,
) -> Any:  # fmt: skip
    """(ids, weights) [T, used], with the columns a row is padded to left out of the result and out of reach."""
    tokens, n = logits.shape
    groups, groups_used = GROUPS if spec.best_of_group else (0, 0)
    padded = guard(np.pad(logits, ((0, 0), (0, -n % 16)), constant_values=1e9))  # larger than any: must not be looked at
    ids, weights = guard(np.full((tokens, 16), -7, np.int32)), guard(np.full((tokens, 16), np.nan, np.float32))
    choices = guard(np.empty((tokens, n + groups), np.float32)) if spec.has_choices else None
    sizes = n, used, groups, groups_used, padded.shape[1], n + groups, 16
    kernel(padded, bias, choices, ids, weights, *sizes, scale, jitter, 0, tokens)
    assert (ids[:, used:] == -7).all() and np.isnan(weights[:, used:]).all()
    return ids[:, :used], weights[:, :used]


def some_bias(spec: Router, experts: int) -> NDArray[np.float32] | None:
    return np.random.default_rng(7).standard_normal(experts).astype(np.float32) if spec.biased else None


@every_router
@pytest.mark.parametrize(("experts", "used"), [(1, 1), (5, 2), (8, 8), (60, 4), (129, 8)])
def test_takes_the_largest_and_weighs_them(
    spec: Router, isa: Isa, experts: int, used: int, compiled: Any, guarded: Guard
) -> None:
    experts = -(-experts // 6) * 6 if spec.best_of_group else experts  # three groups of at least two
    used = min(used, experts // 3 * 2) if spec.best_of_group else used
    logits = 3 * np.random.default_rng(experts).standard_normal((9, experts)).astype(np.float32)
    bias, groups = some_bias(spec, experts), (*GROUPS, spec.best_of_group) if spec.best_of_group else ()
    ids, weights = route(compiled(spec, isa), spec, logits, used, guarded, 2.5, bias, 0.4)
    wanted_ids, wanted = reference.router(
        logits, used, spec.gate, spec.normalize, 2.5, bias=bias, groups=groups, jitter=np.float32(0.4)
    )
    assert np.array_equal(ids, wanted_ids)
    np.testing.assert_allclose(weights, wanted, rtol=4 * F32_FUNCTION + experts * 2**-24, atol=0)


@every_router_by_logit
def test_of_equal_logits_the_lower_id_comes_first(spec: Router, isa: Isa, compiled: Any, guarded: Guard) -> None:
    logits = np.array([[1, 2, 2, 0, 2, -1], [0, 0, 0, 0, 0, 0], [-1, -5, -1, -1, -9, 3]], np.float32)
    ids, weights = route(compiled(spec, isa), spec, logits, 4, guarded)
    assert ids.tolist() == [[1, 2, 4, 0], [0, 1, 2, 3], [5, 0, 2, 3]]
    assert weights[1].tolist() == [weights[1][0]] * 4 or spec.gate == "sparsemixer"


@pytest.mark.parametrize("spec", [Router("softmax", True)], ids=lambda s: s.symbol)
def test_far_apart_logits_do_not_overflow(spec: Router, isa: Isa, compiled: Any, guarded: Guard) -> None:
    ids, weights = route(compiled(spec, isa), spec, np.array([[3e38, -3e38, 0, 1e30]], np.float32), 2, guarded)
    assert ids.tolist() == [[0, 3]] and abs(weights[0, 0] - 1) < 1e-6 and 0 <= weights[0, 1] < 1e-37


@every_router
def test_ids_name_an_expert_whatever_the_logits_are(spec: Router, isa: Isa, compiled: Any, guarded: Guard) -> None:
    for value in (np.nan, np.inf, -np.inf):
        logits = np.full((2, 6), value, np.float32)
        logits[1, 3] = 1.0
        ids, _ = route(compiled(spec, isa), spec, logits, 4, guarded, bias=some_bias(spec, 6))
        assert ((ids >= 0) & (ids < 6)).all()


def test_a_router_has_a_known_gate() -> None:
    with pytest.raises(ValueError, match="softmax, sigmoid"):
        Router("tanh", True)
    with pytest.raises(ValueError, match="3 best"):
        Router("softmax", True, best_of_group=3)
    with pytest.raises(ValueError, match="sparsemixer"):
        Router("sparsemixer", True)


@pytest.mark.parametrize("spec", [ExpertSum(), ExpertSum(weighted=False)], ids=lambda s: s.symbol)
@pytest.mark.parametrize(("n", "used"), [(16, 1), (40, 2), (272, 8)])
def test_sums_in_the_order_of_the_slots(spec: ExpertSum, isa: Isa, n: int, used: int, compiled: Any, guarded: Guard) -> None:
    rng = np.random.default_rng(n)
    tokens, ld = 5, -(-n // 16) * 16
    rows = guarded(rng.standard_normal((tokens * used + 3, ld)).astype(np.float32))
    place = guarded(rng.permutation(len(rows))[: tokens * used].astype(np.int32).reshape(tokens, used))
    weights = guarded(rng.standard_normal((tokens, 16)).astype(np.float32))
    y = guarded(np.full((tokens, ld), np.nan, np.float32))
    compiled(spec, isa)(rows, place, weights, y, n, used, ld, 16, ld, 1, 4)
    chosen, factors = rows[place], weights[:, :used] if spec.weighted else np.ones((tokens, used), np.float32)
    wanted, l1 = expert_sum.reference(rows, place, factors), expert_sum.reference(np.abs(rows), place, np.abs(factors))
    assert_sum_close(y[1:4], wanted[1:4], l1[1:4], F32_SUM)
    assert np.isnan(y[[0, 4]]).all()
    if used == 1:
        assert y[1:4].tobytes() == (chosen[1:4, 0] * factors[1:4]).tobytes()


@pytest.mark.parametrize("spec", [GateRows()], ids=lambda s: s.symbol)
@pytest.mark.parametrize("n", [16, 40])
def test_a_row_is_multiplied_by_the_sigmoid_of_its_logit(spec: GateRows, isa: Isa, n: int, compiled: Any, guarded: Guard) -> None:
    rng = np.random.default_rng(n)
    ld, logits = -(-n // 16) * 16, guarded(np.array([[0, 9], [-3, 9], [50, 9], [-200, 9], [1, 9]], np.float32))
    rows = rng.standard_normal((5, ld)).astype(np.float32)
    x = guarded(rows.copy())
    compiled(spec, isa)(x, logits, n, ld, 2, 0, 4)
    (wanted,) = CATALOGUE["gate_rows"].compute([rows, logits[:, :1]], {})
    np.testing.assert_allclose(x[:4], wanted[:4], rtol=4 * F32_FUNCTION, atol=1e-30)
    assert np.array_equal(x[4], rows[4])
