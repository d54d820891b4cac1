"""Encoders against recorded states of tokens, and what embed() makes of them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import llmc
from llmc.errors import UsageError
from llmc.frontend.load import open_model
from llmc.ir.interpret import KvState, interpret
from llmc.passes.pipeline import optimize
from tests.e2e.reference import Compiled
from tests.e2e.test_interpreter import weights

SOURCES = [("bert", "model.gguf"), ("bert", "hf"), ("modernbert", "model.gguf")]
every_source = pytest.mark.parametrize("source", SOURCES, ids="/".join)


def recorded(shared: Path, name: str) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    with np.load(shared / "models" / "open" / name / "ref.npz") as data:
        for i in range(int(data["n_seq"])):
            yield data[f"tokens_{i}"].tolist(), data[f"embd_all_{i}"]


def folder(shared: Path, source: tuple[str, str]) -> Path:
    return shared.joinpath("models", "open", *source)


@every_source
def test_exact_arithmetic_gives_the_recorded_states(compiled: Compiled, shared: Path, source: tuple[str, str]) -> None:
    tolerance = json.loads((folder(shared, source).parent / "meta.json").read_text())["tolerance"]["f32_max_abs"]
    model = llmc.load(compiled(folder(shared, source), "f32"), threads=2)
    for ids, states in recorded(shared, source[0]):
        assert np.abs(model.embed(ids, pooling="none") - states).max() <= tolerance


@every_source
def test_the_compiled_model_computes_its_graph(compiled: Compiled, shared: Path, source: tuple[str, str]) -> None:
    model = llmc.load(compiled(folder(shared, source), "f32"), threads=2)
    opened = open_model(folder(shared, source))
    graph = optimize(opened.graph, "f32")
    for ids, _ in recorded(shared, source[0]):
        rows = np.arange(len(ids), dtype=np.int32)
        inputs = {"tokens": np.array(ids, np.int32), "positions": rows, "rows": rows, "cache": KvState(), "segments": 0 * rows}
        states = interpret(graph, inputs, weights(opened.checkpoint))[0]
        assert np.abs(model.embed(ids, pooling="none") - states).max() <= 1e-4


@every_source
def test_bits_do_not_depend_on_threads_or_neighbours(compiled: Compiled, shared: Path, source: tuple[str, str]) -> None:
    artifact = compiled(folder(shared, source))
    texts = [ids for ids, _ in recorded(shared, source[0])]
    model = llmc.load(artifact, threads=1)
    alone = [model.embed(ids, pooling="none") for ids in texts]
    with llmc.load(artifact, threads=2).session(max_sequences=3) as session:
        together = session.step({session.open(): ids for ids in texts})
    assert np.array_equal(together, np.concatenate(alone))


def test_pooling_is_what_it_says(compiled: Compiled, shared: Path) -> None:
    model = llmc.load(compiled(folder(shared, SOURCES[0]), "f32"))
    ids = next(recorded(shared, "bert"))[0]
    states = model.embed(ids, pooling="none")
    by_name = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}
    for pooling, row in by_name.items():
        assert np.allclose(model.embed(ids, pooling=pooling, normalize=False), row, atol=1e-6)
        assert np.allclose(model.embed(ids, pooling=pooling, normalize=True), row / np.linalg.norm(row), atol=1e-6)
    assert model.info.pooling == "mean" and np.allclose(model.embed(ids), by_name["mean"], atol=1e-6)


def test_a_text_is_embedded_with_the_tokens_the_model_expects(compiled: Compiled, shared: Path) -> None:
    model = llmc.load(compiled(folder(shared, SOURCES[0])))
    ids = model.tokenize("How the parser reads a file")
    assert [ids[0], ids[-1]] == [2, 3]
    assert np.array_equal(model.embed("How the parser reads a file"), model.embed(ids))


@pytest.mark.parametrize(("call", "says"), [
    (lambda m: m.generate([1, 2]), "encoder and generates no text"), (lambda m: m.logits([1, 2]), "embed"),
    (lambda m: m.embed([]), "no tokens"), (lambda m: m.embed([5] * 513), "at most 512"), (lambda m: m.embed([512]), "511"),
    (lambda m: m.embed([5], pooling="max"), "unknown pooling"),
])  # fmt: skip
def test_refuses_what_makes_no_sense(compiled: Compiled, shared: Path, call: Callable[[Any], Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        call(llmc.load(compiled(folder(shared, SOURCES[0]))))


def test_an_encoder_reads_a_text_in_one_step(compiled: Compiled, shared: Path) -> None:
    with llmc.load(compiled(folder(shared, SOURCES[0]))).session() as session:
        sequence = session.open()
        session.step({sequence: [2, 50, 3]})
        with pytest.raises(UsageError, match="whole text in one step"):
            session.step({sequence: [50]})
        with pytest.raises(UsageError, match="llmc_embed"):
            session.prefill(sequence, [50])


def test_a_model_that_generates_has_no_embeddings(compiled: Compiled, shared: Path) -> None:
    model = llmc.load(compiled(shared / "models" / "open" / "llama" / "model.gguf"))
    with pytest.raises(UsageError, match="generates text and has no embeddings"):
        model.embed([1, 2])


def test_the_command_prints_a_line_for_each_text(compiled: Compiled, shared: Path) -> None:
    artifact = compiled(folder(shared, SOURCES[0]))
    command = [sys.executable, "-m", "llmc", "embed", str(artifact), "one", "two words"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert np.array_equal(np.float32(rows[1]), llmc.load(artifact).embed("two words")) and len(rows) == 2
