"""Compiled models against the graph they were made from, run by the interpreter in numpy.

With exact activations the two agree everywhere. With int8 ones they run the same arithmetic, but the compiled model sums in f32
and the interpreter in f64, and now and then a value lies so close to the middle of two codes that one rounds up and the other
down: about one position in twenty, and what follows it in a text. A step of one code moves logits by up to a few tenths. So most
positions must agree to TOLERANCE, and none may be further off than such a step explains.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.load import open_model
from llmc.ir.graph import Graph
from llmc.ir.interpret import KvState, WeightData, interpret
from llmc.passes.pipeline import optimize
from tests.e2e.reference import FIXTURES, Compiled, Logits, Reference, kl

TOLERANCE = 1e-3  # absolute, on logits of a few units
ONE_STEP_KL = 2e-3

every_fixture = pytest.mark.parametrize("fixture", FIXTURES)


class Interpreter:
    """The optimised graph of a checkpoint, as a function of token ids."""

    def __init__(self, model: Path, activations: str) -> None:
        opened = open_model(model)
        self.graph: Graph = optimize(opened.graph, activations)
        self.weights = weights(opened.checkpoint)

    def logits(self, ids: list[int]) -> Logits:
        """Of every position: [T, V]."""
        positions = np.arange(len(ids), dtype=np.int32)
        inputs = {
            "tokens": np.array(ids, np.int32), "positions": positions, "rows": positions, "cache": KvState(),
            "context": np.array([len(ids)], np.int32),  # as Model.logits declares it
        }  # fmt: skip
        logits: Logits = interpret(self.graph, inputs, self.weights)[0]
        return logits


def weights(checkpoint: Checkpoint) -> Callable[[str], WeightData]:
    """Tensors by name, read when asked for."""

    def read(name: str) -> WeightData:
        tensor = checkpoint.tensors[name]
        return WeightData(tensor.format, checkpoint.data(name), tensor.shape)

    return read


@every_fixture
def test_with_exact_activations_the_compiled_model_computes_its_graph(compiled: Compiled, reference: Reference) -> None:
    ids = reference.tokens(0)
    computed = llmc.load(compiled(reference.model, "f32"), threads=1).logits(ids)
    assert np.abs(computed - Interpreter(reference.model, "f32").logits(ids)).max() <= TOLERANCE


@every_fixture
def test_with_int8_activations_only_a_rounding_may_differ(compiled: Compiled, reference: Reference) -> None:
    model, interpreter = llmc.load(compiled(reference.model), threads=1), Interpreter(reference.model, "int8")
    texts = [reference.tokens(0), *([token] for token in reference.tokens(1)[:24])]
    computed = np.concatenate([model.logits(ids) for ids in texts])
    expected = np.concatenate([interpreter.logits(ids) for ids in texts])
    agree = np.abs(computed - expected).max(-1) <= TOLERANCE
    assert agree.mean() >= 0.7
    assert kl(expected, computed).max() <= ONE_STEP_KL
