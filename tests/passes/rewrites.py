"""What tests of passes say: this text becomes that text, and both compute the same."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import numpy as np

from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph
from llmc.ir.interpret import KvState, interpret
from llmc.ir.text import parse_graph, print_graph
from llmc.ir.verify import verify
from llmc.passes.base import Pass
from tests.ir import sample


def graph(text: str) -> Graph:
    """A verified graph from indented text."""
    parsed = parse_graph(dedent(text), FORMATS)
    verify(parsed)
    return parsed


def assert_rewrites(rewrite: Pass, before: str, after: str, *, rtol: float | None = 0.0) -> None:
    """The pass makes `after` of `before`, name by name, and both give the same results on random inputs.

    rtol  largest difference, relative to the largest element of a result; None where the pass is meant to change results
    """
    old, wanted = graph(before), graph(after)
    new = rewrite(old)
    verify(new, after=rewrite.name)
    assert print_graph(new) == print_graph(wanted)
    if rtol is not None:
        assert_same_results(old, new, rtol)


def assert_unchanged(rewrite: Pass, text: str) -> None:
    """The pass leaves the graph as it is."""
    old = graph(text)
    assert print_graph(rewrite(old)) == print_graph(old)


def assert_same_results(old: Graph, new: Graph, rtol: float = 0.0) -> None:
    inputs, weights = sample.inputs(old), sample.Weights.of(old)
    for a, b in zip(interpret(old, inputs, weights), interpret(new, inputs, weights), strict=True):
        assert_close(a, b, rtol)


def assert_close(a: Any, b: Any, rtol: float) -> None:
    """Arrays, or caches layer by layer."""
    if isinstance(a, KvState):
        assert a.layers.keys() == b.layers.keys()
        assert a.states.keys() == b.states.keys()
        for key in a.states:
            assert_close(a.states[key], b.states[key], rtol)
        for layer in a.layers:
            for one, other in zip(a.layers[layer], b.layers[layer], strict=True):
                assert_close(one, other, rtol)
    else:
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=0, atol=rtol * float(np.abs(a).max(initial=0)))
