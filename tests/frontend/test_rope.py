"""Rotation frequencies against double precision, and the YaRN mix against the paper's description."""

import math

import numpy as np
import pytest

from llmc.frontend.rope import RopeScaling, frequencies


def plain(dims: int, base: float) -> np.ndarray:
    return np.array([base ** (-2 * i / dims) for i in range(dims // 2)])


@pytest.mark.parametrize(("dims", "base"), [(64, 10000.0), (128, 500000.0), (48, 1e6), (2, 10.0)])
def test_plain_frequencies_are_the_nearest_f32(dims: int, base: float) -> None:
    values, scale = frequencies(dims, base, RopeScaling())
    assert scale == 1.0
    np.testing.assert_allclose(values, plain(dims, base), rtol=2**-23)


def test_linear_scaling_divides_every_frequency() -> None:
    values, scale = frequencies(64, 10000.0, RopeScaling("linear", 4.0))
    assert scale == 1.0
    np.testing.assert_allclose(values, plain(64, 10000.0) / 4, rtol=2**-23)


def test_yarn_keeps_fast_pairs_squeezes_slow_ones_and_ramps_between() -> None:
    base, dims, factor, original = 10000.0, 128, 8.0, 4096
    values, scale = frequencies(dims, base, RopeScaling("yarn", factor, original_context=original))
    unscaled = plain(dims, base)
    rotations = original * unscaled / (2 * math.pi)  # in the original context
    fast, slow = rotations > 32 * 1.2, rotations < 1 / 1.2
    np.testing.assert_allclose(values[fast], unscaled[fast], rtol=1e-6)
    np.testing.assert_allclose(values[slow], unscaled[slow] / factor, rtol=1e-6)
    between = ~fast & ~slow
    assert between.any() and (values[between] <= unscaled[between]).all()
    assert (values[between] >= unscaled[between] / factor * 0.999).all()
    assert scale == pytest.approx(0.1 * math.log(factor) + 1)


def test_yarn_scale_takes_the_attention_factor() -> None:
    _, scale = frequencies(64, 10000.0, RopeScaling("yarn", 4.0, original_context=2048, attention_factor=0.5))
    assert scale == pytest.approx(0.5 * (0.1 * math.log(4) + 1))
