"""Slopes of ALiBi, as the paper has them."""

import pytest

from llmc.frontend.alibi import slopes


def test_slopes_of_a_power_of_two_halve_from_head_to_head() -> None:
    assert slopes(8) == tuple(2.0**-i for i in range(1, 9))


def test_other_numbers_of_heads_take_slopes_from_between() -> None:
    """12 heads: those of 8, then every second one of 16."""
    assert slopes(12)[:8] == slopes(8)
    assert slopes(12)[8:] == pytest.approx([2 ** -(i / 2) for i in (1, 3, 5, 7)], rel=1e-12)


def test_the_steepest_slope_and_a_scale_are_arguments() -> None:
    assert slopes(4, 16.0, 0.5) == tuple(0.5 * 2.0 ** (-4 * i) for i in range(1, 5))
