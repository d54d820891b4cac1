"""How steps reach a GPU: recorded and replayed, sampled from where they were computed, started before all weights have arrived.

The fake driver does everything as late as it may, so an order that is not asked for does not happen.
"""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.codegen.gpu.build import missing
from tests.gpu.driver import FakeDriver
from tests.gpu.models import demo_specs

pytestmark = [
    pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]"),
    pytest.mark.usefixtures("needs_opencl"),
]


@pytest.fixture
def needs_opencl() -> None:
    pytest.importorskip("pyopencl")


def ids(n: int, seed: int = 0) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(5, 4000, n)]


def test_replayed_steps_are_launched_ones_to_the_bit(demo_artifact: Path, driver: FakeDriver) -> None:
    """Batches of different sizes, over a page's end, with pages that move when they grow."""
    driver.reset(demo_specs(), execute=True)
    found = []
    with llmc.load(demo_artifact, device="cuda") as model:
        for eager in (True, False):
            with model.session(context=128, max_sequences=3, eager=eager) as session:
                rows, sequences = [], [session.open() for _ in range(3)]
                for s in sequences:
                    session.prefill(s, ids(60 + s, s))
                for step in range(6):
                    batch = sequences if step % 3 else sequences[:1]
                    rows += [*session.step({s: ids(1, 10 * step + s) for s in batch})]
                found.append(np.array(rows))
            assert (driver.count("replays") > 0) is not eager
    assert not driver.wrong, driver.wrong[0]
    assert np.array_equal(*found)
    assert driver.used == 0 and driver.count("objects") == 0


def test_nothing_is_recorded_at_start_nor_for_a_step_that_comes_once(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset(demo_specs())
    with llmc.load(demo_artifact, device="cuda") as model, model.session() as session:
        s = session.open()
        session.prefill(s, ids(5))
        session.step({s: [7]})
        assert driver.count("recordings") == 0
        launches = driver.count("launches")
        for _ in range(4):
            session.step({s: [7]})
        assert (driver.count("recordings"), driver.count("replays")) == (1, 4)
        each = (driver.count("launches") - launches) // 1
        assert each > 10  # of the recording alone: replays launch nothing
        for _ in range(60):  # over the end of the page: one more shape, seen once and then recorded
            session.step({s: [7]})
        assert driver.count("recordings") == 2


OPTIONS = [
    {},
    {"repetition_penalty": 1.5, "repetition_window": 8},
    {"temperature": 0.8, "top_k": 20, "seed": 7},
    {"temperature": 1.2, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 3},
]
NEEDS_ALL = [{"temperature": 1.0, "seed": 5}, {"temperature": 1.0, "top_p": 0.9, "seed": 5}]


@pytest.mark.parametrize("options", [*OPTIONS, *NEEDS_ALL])
def test_tokens_chosen_on_the_device_are_those_of_the_processor(
    demo_artifact: Path, driver: FakeDriver, options: dict[str, float]
) -> None:
    driver.reset(demo_specs(), execute=True)
    with llmc.load(demo_artifact, device="cpu") as model:
        expected = "".join(model.generate("The following", max_tokens=6, ignore_end=True, **options))
    with llmc.load(demo_artifact, device="cuda") as model:
        vocab = model.info.vocab
        found = "".join(model.generate("The following", max_tokens=6, ignore_end=True, **options))
    assert not driver.wrong, driver.wrong[0]
    assert found == expected
    copied = driver.downloaded / 6  # of a token
    assert copied >= 4 * vocab if options in NEEDS_ALL else copied <= 8 * 128


def test_a_step_starts_before_all_weights_have_arrived(demo_artifact: Path, driver: FakeDriver) -> None:
    """The first step waits for pieces of the file, not for the file, and what it computes is right."""
    driver.reset(demo_specs(), execute=True)
    with llmc.load(demo_artifact, device="cuda") as model:
        first = model.logits(ids(4))
        assert driver.count("uploads") > 8
        again = model.logits(ids(4))
    assert not driver.wrong, driver.wrong[0]
    assert np.array_equal(first, again)


def test_a_long_prompt_is_one_step(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset(demo_specs(), execute=True)
    prompt = ids(260)
    with llmc.load(demo_artifact, device="cpu") as model, model.session() as session:
        expected = session.prefill(session.open(), prompt)
    with llmc.load(demo_artifact, device="cuda") as model, model.session() as session:
        assert model.info.max_step_tokens == 1024
        found = session.prefill(session.open(), prompt)
    assert not driver.wrong, driver.wrong[0]
    assert driver.launched.count("rope_table") == 1
    assert np.abs(found - expected).max() <= 1e-3


def test_several_sessions_side_by_side(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset(demo_specs(), execute=True)
    with llmc.load(demo_artifact, device="cuda") as model, model.session() as a, model.session() as b:
        sequences = [(session, session.open()) for session in (a, b)]
        rows = [session.prefill(s, ids(9)) for session, s in sequences]
        for token in (3, 4, 5):
            rows = [session.step({s: [token]}) for session, s in sequences]
        assert np.array_equal(*rows)
    assert driver.used == 0 and driver.count("objects") == 0
