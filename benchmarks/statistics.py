"""Pairs, medians and quartiles: how timings of several engines become ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Quartiles:
    """Lower quartile, median, upper quartile of some numbers."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """At least one value; quartiles lie between the values, never beyond them."""
        return cls(*statistics.quantiles(values, n=4, method="inclusive")) if len(values) > 1 else cls(*(values[0],) * 3)

    def map(self, scale: float) -> Quartiles:
        return Quartiles(self.lower * scale, self.median * scale, self.upper * scale)

    def as_json(self) -> dict[str, Any]:
        return {"lower": self.lower, "median": self.median, "upper": self.upper}


def rates(seconds: Sequence[float], work: float) -> Quartiles:
    """Work per second, such as tokens."""
    return Quartiles.of([work / s for s in seconds])


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Quartiles:
    """How many times faster we are, pair by pair: what the machine does to both sides of a pair does not count."""
    return Quartiles.of([their / our for our, their in zip(ours, theirs, strict=True)])


def rounds(names: Sequence[str], count: int) -> Iterator[list[str]]:
    """The order in which to ask in each of `count` rounds: another one begins each time."""
    for i in range(count):
        first = i % len(names)
        yield [*names[first:], *names[:first]]


def fastest(trials: Mapping[str, Sequence[float]]) -> str:
    """The variant with the least time in any of its trials."""
    return min(trials, key=lambda name: min(trials[name]))
