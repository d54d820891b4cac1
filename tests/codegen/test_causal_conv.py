"""The convolution kernel on every level this machine runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.causal_conv import CausalConv, reference
from llmc.target import Isa
from tests.tolerance import F32_SUM, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]
PLAIN = [CausalConv(taps, function, False) for taps in (2, 3, 4) for function in ("", "silu")]


class Case:
    def __init__(self, spec: CausalConv, tokens: int, columns: int, guard: Guard) -> None:
        rng = np.random.default_rng(columns)
        self.tokens, self.columns, self.ld = tokens, columns, -(-columns // 16) * 16

        def rows(n: int) -> NDArray[np.float32]:
            x = np.zeros((n, self.ld), np.float32)
            x[:, :columns] = rng.standard_normal((n, columns))
            return guard(x)

        self.x, self.before, self.after = rows(tokens), rows(tokens), rows(tokens)
        self.w, self.b, self.state = rows(spec.taps), rows(1)[0], rows(spec.taps - 1)
        self.y = guard(np.full((tokens, self.ld), np.nan, np.float32))

    def run(self, kernel: Callable[..., None], lo: int, hi: int, blocks: tuple[int, int] | None = None) -> None:
        first, last = blocks or (0, self.ld // 16)
        kernel(self.x, self.before, self.after, self.w, self.b, self.y, self.state, self.ld, first, last, lo, hi)


@pytest.mark.parametrize("spec", PLAIN, ids=lambda s: s.symbol)
@pytest.mark.parametrize("columns", [16, 40])
def test_is_the_formula_and_keeps_the_last_inputs(
    spec: CausalConv, isa: Isa, columns: int, compiled: Any, guarded: Guard
) -> None:
    case = Case(spec, 7, columns, guarded)
    wanted = reference(spec, case.state, case.x, case.w, case.b)
    kept = np.concatenate([case.state, case.x])[-(spec.taps - 1) :]
    case.run(compiled(spec, isa), 0, 7)
    assert_sum_close(case.y, wanted, np.full_like(wanted, spec.taps * 4.0), F32_SUM)
    assert (case.state == kept).all() and not case.y[:, columns:].any()


@pytest.mark.parametrize("spec", [CausalConv(3, "", True)], ids=lambda s: s.symbol)
def test_gates_multiply_the_input_and_the_result(spec: CausalConv, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 5, 32, guarded)
    wanted = case.after * reference(spec, case.state, case.before * case.x, case.w, case.b)
    case.run(compiled(spec, isa), 0, 5)
    assert_sum_close(case.y, wanted, np.full_like(wanted, 16.0), F32_SUM)


@pytest.mark.parametrize("spec", [CausalConv(4, "silu", False)], ids=lambda s: s.symbol)
def test_bits_do_not_depend_on_how_tokens_and_columns_are_cut(
    spec: CausalConv, isa: Isa, compiled: Any, guarded: Guard
) -> None:
    whole, cut = Case(spec, 9, 48, guarded), Case(spec, 9, 48, guarded)
    whole.run(compiled(spec, isa), 0, 9)
    for lo, hi in ((0, 1), (1, 2), (2, 7), (7, 9)):
        for block in range(3):
            cut.run(compiled(spec, isa), lo, hi, (block, block + 1))
    assert whole.y.tobytes() == cut.y.tobytes() and whole.state.tobytes() == cut.state.tobytes()


@pytest.mark.parametrize("spec", [CausalConv(2, "", False)], ids=lambda s: s.symbol)
def test_without_a_bias_sums_start_at_zero(spec: CausalConv, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(spec, 3, 16, guarded)
    wanted = reference(spec, case.state, case.x, case.w, np.zeros(16))
    case.b = None  # type: ignore[assignment]
    case.run(compiled(spec, isa), 0, 3)
    assert_sum_close(case.y, wanted, np.full_like(wanted, 8.0), F32_SUM)


def test_refuses_a_single_tap() -> None:
    with pytest.raises(ValueError, match="1 taps"):
        CausalConv(1, "", False)
