"""Mixtures of experts whose weights are in block formats, which no recorded model has: against the interpreter and themselves."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from benchmarks import make_model
from llmc import target
from tests.e2e.reference import Compiled, kl
from tests.e2e.test_interpreter import ONE_STEP_KL, TOLERANCE, Interpreter
from tests.e2e.test_logits import uneven

KINDS = ["q4_0", "q4_k_m"]
ANOTHER_EXPERT_KL = 0.02
IDS = np.random.default_rng(5).integers(0, make_model.SHAPES["tiny-moe"].vocab, 150).tolist()

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small random model of each kind: 3 of 8 experts, 3 layers."""
    folder = tmp_path_factory.mktemp("experts")
    for kind in KINDS:
        make_model.make("tiny-moe", kind, folder / f"{kind}.gguf")
    return {kind: folder / f"{kind}.gguf" for kind in KINDS}


@every_kind
def test_with_exact_activations_it_computes_its_graph(compiled: Compiled, models: dict[str, Path], kind: str) -> None:
    computed = llmc.load(compiled(models[kind], "f32"), threads=2).logits(IDS[:40])
    assert np.abs(computed - Interpreter(models[kind], "f32").logits(IDS[:40])).max() <= TOLERANCE


@every_kind
def test_with_int8_activations_only_a_rounding_may_differ(compiled: Compiled, models: dict[str, Path], kind: str) -> None:
    """Tokens one by one: in a text a rounding changes what follows. It may choose another expert, which is further off."""
    model, interpreter = llmc.load(compiled(models[kind]), threads=2), Interpreter(models[kind], "int8")
    computed = np.concatenate([model.logits([token]) for token in IDS[:40]])
    expected = np.concatenate([interpreter.logits([token]) for token in IDS[:40]])
    agree = np.abs(computed - expected).max(-1) <= TOLERANCE
    assert agree.mean() >= 0.5
    divergence = np.sort(kl(expected, computed))
    assert divergence[-3] <= ONE_STEP_KL and divergence[-1] <= ANOTHER_EXPERT_KL


@every_kind
def test_int8_activations_cost_little(compiled: Compiled, models: dict[str, Path], kind: str) -> None:
    exact, int8 = (llmc.load(compiled(models[kind], mode), threads=2).logits(IDS) for mode in ("f32", "int8"))
    assert kl(exact, int8).mean() <= 0.01


@every_kind
@pytest.mark.parametrize("activations", ["f32", "int8"])
def test_bits_do_not_depend_on_chunks_or_threads(
    compiled: Compiled, models: dict[str, Path], kind: str, activations: str
) -> None:
    artifact = compiled(models[kind], activations)
    whole = llmc.load(artifact, threads=1).logits(IDS)
    for threads in (1, 2, 5):
        model = llmc.load(artifact, threads=threads)
        for chunks in ([128, 22], uneven(len(IDS)), [1] * len(IDS)):
            assert np.array_equal(model.logits(IDS, chunks=chunks), whole), (threads, chunks[:4])


def test_bits_do_not_depend_on_who_else_is_in_the_step(compiled: Compiled, models: dict[str, Path]) -> None:
    """Sequences decoded together share experts; each gets what it gets alone."""
    model = llmc.load(compiled(models["q4_k_m"]), threads=2)
    texts = [IDS[i : i + 5] for i in range(0, 35, 5)]
    with model.session(max_sequences=len(texts)) as session:
        opened = [session.open() for _ in texts]
        together = [session.step({i: ids[n : n + 1] for i, ids in zip(opened, texts, strict=True)}) for n in range(5)]
    for i, ids in enumerate(texts):
        assert np.array_equal(np.stack([rows[i] for rows in together]), model.logits(ids))


def test_every_level_agrees_with_exact_arithmetic(compiled: Compiled, models: dict[str, Path]) -> None:
    exact = llmc.load(compiled(models["q4_k_m"], "f32"), threads=2).logits(IDS)
    portable = compiled(models["q4_k_m"], target="cpu")
    for isa in target.listing()["runs_here"]:
        model = llmc.load(portable, threads=2, isa=isa)
        whole = model.logits(IDS)
        assert kl(exact, whole).mean() <= 0.01, isa
        assert np.array_equal(model.logits(IDS, chunks=uneven(len(IDS))), whole), isa
