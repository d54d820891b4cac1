"""Ratios of interleaved timings."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics import Quartiles, fastest, rates, ratio, rounds

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=12)


def test_quartiles_are_those_of_the_numbers_themselves() -> None:
    assert Quartiles.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Quartiles(2.0, 3.0, 4.0)
    assert Quartiles.of([7.0]) == Quartiles(7.0, 7.0, 7.0)


@given(TIMES)
def test_quartiles_are_ordered_and_never_beyond_the_numbers(values: list[float]) -> None:
    q = Quartiles.of(values)
    assert min(values) <= q.lower <= q.median <= q.upper <= max(values)


def test_rates_are_work_per_second() -> None:
    assert rates([2.0, 4.0, 8.0], work=64) == Quartiles(12.0, 16.0, 24.0)


def test_a_ratio_is_taken_within_pairs() -> None:
    """A machine that slows down both sides of a pair does not change it: medians of each side would give 2.5."""
    assert ratio([1.0, 10.0, 2.0], [2.0, 20.0, 5.0]) == Quartiles(2.0, 2.0, 2.25)


def test_more_than_one_means_that_we_are_faster() -> None:
    assert ratio([1.0], [3.0]).median == 3.0


def test_a_ratio_of_lists_of_different_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


@given(st.integers(1, 5), st.integers(1, 20))
def test_every_round_asks_everyone_and_the_first_place_goes_round(engines: int, count: int) -> None:
    names = [str(i) for i in range(engines)]
    orders = [*rounds(names, count)]
    assert len(orders) == count and all(sorted(order) == names for order in orders)
    first = Counter(order[0] for order in orders)
    assert max(first.values()) - min(first.get(name, 0) for name in names) <= 1


def test_the_way_with_the_best_trial_is_chosen() -> None:
    assert fastest({"plain": [3.0, 2.0], "extra": [9.0, 1.0], "flash": [1.5, 1.5]}) == "extra"
