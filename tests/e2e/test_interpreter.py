"""Compiled models against the graph they were made from, run by the interpreter in numpy: the same int8 arithmetic, in f64."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.load import open_model
from llmc.ir.interpret import KvState, WeightData, interpret
from llmc.passes.pipeline import optimize
from tests.e2e.reference import FIXTURES, Compiled, Logits, Reference

TOLERANCE = 1e-3  # absolute, on logits of a few units: f32 sums against f64 sums


def interpreted(model: Path, ids: list[int], activations: str) -> Logits:
    """Logits of every position, by the optimised graph: [T, V]."""
    opened = open_model(model)
    positions = np.arange(len(ids), dtype=np.int32)
    inputs = {"tokens": np.array(ids, np.int32), "positions": positions, "rows": positions, "cache": KvState()}
    logits: Logits = interpret(optimize(opened.graph, activations), inputs, weights(opened.checkpoint))[0]
    return logits


def weights(checkpoint: Checkpoint) -> Callable[[str], WeightData]:
    """Tensors by name, read when asked for."""

    def read(name: str) -> WeightData:
        tensor = checkpoint.tensors[name]
        return WeightData(tensor.format, checkpoint.data(name), tensor.shape)

    return read


@pytest.mark.parametrize("fixture", FIXTURES)
@pytest.mark.parametrize("activations", ["f32", "int8"])
def test_the_compiled_model_computes_its_graph(compiled: Compiled, reference: Reference, activations: str) -> None:
    ids = reference.tokens(0)
    computed = llmc.load(compiled(reference.model, activations), threads=1).logits(ids)
    expected = interpreted(reference.model, ids, activations)
    assert np.abs(computed - expected).max() <= TOLERANCE
