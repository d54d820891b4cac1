"""silu and gelu, alone and times a factor, on every level this machine runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.activation import ALWAYS_GATED, FUNCTIONS, Activation, reference
from llmc.target import Isa
from tests.codegen import q8
from tests.tolerance import F32_FUNCTION, assert_sum_close

Guard = Callable[[NDArray[Any]], NDArray[Any]]

CLAMPED = "clamped_silu"
PARAMETERS = np.array([0.7, 1.1, 0.5, -1e-6], np.float32)  # of xielu, as Apertus has them
GATED = [Activation(function, True, True, "") for function in FUNCTIONS if function != "xielu"]
ALL = [*GATED, *(Activation(function, False, True, "") for function in FUNCTIONS if function not in ALWAYS_GATED)]
BOUNDED = [spec for spec in ALL if spec.function not in ("relu2", "xielu")]  # by |x|
FORMS = [
    tuple(Activation(function, gated, *forms) for forms in ((True, ""), (False, form), (True, form)))
    for function, gated, form in (
        ("silu", True, "q8"), ("silu", True, "q8_256"), ("gelu", True, "q8"), ("gelu", False, "q8_256"),
        ("gelu_erf", False, "q8"), (CLAMPED, True, "q8"), ("relu2", False, "q8"), ("xielu", False, "q8"), ("sigmoid", True, "q8"),
    )  # fmt: skip
]


# Relative; of gelu_erf, whose polynomial has an absolute error, to |x|. Far below zero gelu is x e^2u, and its exponent, a
# product, is rounded: up to 88 times 2^-23.
BOUND = {
    "silu": 2 * F32_FUNCTION, "gelu": 1e-5, "gelu_erf": 2 * F32_FUNCTION, CLAMPED: 1e-5, "relu2": F32_FUNCTION, "xielu": 1e-5,
    "sigmoid": 2 * F32_FUNCTION, "relu": F32_FUNCTION,
}  # fmt: skip


class Case:
    def __init__(self, tokens: int, n: int, guard: Guard, function: str = "") -> None:
        self.parameters = guard(PARAMETERS.copy()) if function == "xielu" else None
        rng = np.random.default_rng(n)
        self.tokens, self.n, self.ld = tokens, n, -(-n // 16) * 16
        gate, up = np.zeros((2, tokens, self.ld), np.float32)
        gate[:, :n], up[:, :n] = 4 * rng.standard_normal((tokens, n)), rng.standard_normal((tokens, n))
        self.gate, self.up = guard(gate), guard(up)
        self.y = guard(np.full((tokens, self.ld), np.nan, np.float32))
        self.tiles = q8.Tiles(*(guard(a) for a in q8.blank(tokens, -(-n // 32) * 32).arrays))

    def run(self, kernel: Callable[..., None], lo: int, hi: int) -> None:
        up = self.up if self.parameters is None else self.parameters
        kernel(self.gate, up, self.y, *self.tiles.arrays, self.n, self.ld, self.ld, self.ld, self.tokens, lo, hi)


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.symbol)
@pytest.mark.parametrize("n", [1, 16, 40, 352])
def test_is_the_formula(spec: Activation, isa: Isa, n: int, compiled: Any, guarded: Guard) -> None:
    case = Case(4, n, guarded, spec.function)
    case.run(compiled(spec, isa), 1, 3)
    up = case.up[1:3] if spec.gated else PARAMETERS if spec.function == "xielu" else 1.0
    wanted = reference(spec.function, case.gate[1:3], up)
    size = np.abs(case.gate[1:3] * up if spec.function == "gelu_erf" else wanted)
    size = size + np.abs(case.gate[1:3]) if spec.function == "xielu" else size
    assert_sum_close(case.y[1:3], wanted, size + 1e-24, BOUND[spec.function])  # e^x is never below e^-88
    assert np.isnan(case.y[[0, 3]]).all()


@pytest.mark.parametrize("spec", BOUNDED, ids=lambda s: s.symbol)
def test_far_from_zero_it_is_the_gate_or_nothing(spec: Activation, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(1, 16, guarded)
    case.gate[0] = [0.0, -0.0, 30, 88, 1000, 3e38, -30, -80, -100, -1e4, -3e30, 1e-30, -1e-30, 1, -1, 20]
    case.up[...] = 1
    case.run(compiled(spec, isa), 0, 1)
    wanted = reference(spec.function, case.gate[0])
    assert np.isfinite(case.y).all()
    near = np.abs(case.gate[0]) < 20
    error = BOUND[spec.function] * np.abs(case.gate[0] if spec.function == "gelu_erf" else wanted)[near]
    assert (np.abs(case.y[0, near] - wanted[near]) <= error + 1e-33).all()
    far = ~near & (case.gate[0] > -1e6)  # below that a number smaller than 1e-6 of it may be left
    np.testing.assert_allclose(case.y[0, far], wanted[far], rtol=BOUND[spec.function], atol=1e-12)


@pytest.mark.parametrize("specs", FORMS, ids=lambda specs: specs[1].symbol)
@pytest.mark.parametrize("tokens", [1, 2, 3, 7, 16, 18, 29, 37])
def test_the_int8_form_is_that_of_the_floats_to_the_bit(
    specs: tuple[Activation, ...], isa: Isa, tokens: int, compiled: Any, guarded: Guard
) -> None:
    n = 96 if specs[1].q8 == "q8" else 512
    cases = [Case(tokens, n, guarded, spec.function) for spec in specs]
    last = q8.padded(tokens)
    for spec, case in zip(specs, cases, strict=True):
        case.run(compiled(spec, isa), last // 2, last)
        case.run(compiled(spec, isa), 0, last // 2)
    floats, codes, both = cases
    assert floats.y.tobytes() == both.y.tobytes() and np.isnan(codes.y).all()
    assert both.tiles.same(q8.expected(floats.y, specs[1].q8)) and codes.tiles.same(both.tiles)
    assert floats.tiles.same(q8.blank(tokens, n))


@pytest.mark.parametrize("spec", [Activation("xielu", False, True, "")], ids=lambda s: s.symbol)
def test_xielu_near_zero_and_far_from_it(spec: Activation, isa: Isa, compiled: Any, guarded: Guard) -> None:
    case = Case(1, 16, guarded, "xielu")
    case.gate[0] = [0.0, 1e-7, -1e-7, -1e-5, -1e-3, -0.4999, -0.5001, -1, -20, -100, -1e4, 1e-3, 1, 20, 1e4, -1e-30]
    case.run(compiled(spec, isa), 0, 1)
    wanted = reference("xielu", case.gate[0], PARAMETERS)
    assert (np.abs(case.y[0] - wanted) <= 2e-6 * np.abs(wanted) + 2e-7 * np.abs(case.gate[0]) + 1e-10).all()


def test_refuses_a_kernel_without_a_result() -> None:
    with pytest.raises(ValueError, match="without a result"):
        Activation("silu", True, f32=False, q8="")


def test_both_halves_of_a_clamped_gate_are_needed() -> None:
    with pytest.raises(ValueError, match="without a gate's other half"):
        Activation(CLAMPED, False, f32=True, q8="")
    with pytest.raises(ValueError, match="in the place of a gate's other half"):
        Activation("xielu", True, f32=True, q8="")
