"""Rounds of questions to engines that answer with numbers made up here."""

import sys
from pathlib import Path

import pytest

from benchmarks import engines
from benchmarks.cases import decode
from benchmarks.engines import LLAMA_CPP, LLMC, Engines
from benchmarks.measure import TRIALS, Bench
from benchmarks.models import Model

ANSWERS = "import sys; print('ready {}', flush=True)\nfor line in sys.stdin: print({seconds}, flush=True)"
FALLS = """
import sys
print("ready {}", flush=True)
for i, line in enumerate(sys.stdin):
    print(1 if i < {after} else 1 / 0, flush=True)
"""


def script(code: str, **values: float) -> list[str]:
    for name, value in values.items():
        code = code.replace("{" + name + "}", str(value))
    return [sys.executable, "-c", code]


def bench(monkeypatch: pytest.MonkeyPatch, ways: dict[str, dict[str, list[str]]]) -> Bench:
    probe = script("import sys\nfor line in sys.stdin: print(0.5, flush=True)")
    monkeypatch.setattr(engines, "limits", lambda model, threads: {"memory": probe, "compute": probe})
    who = Engines({}, versions={name: "1" for name in ways if name != LLMC})
    monkeypatch.setattr(who, "workers", lambda engine, model, threads: ways[engine])
    return Bench(who, Model("tiny", "f16"), 1, lambda text: None)


def test_every_engine_and_the_limit_answer_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {LLMC: {"": script(ANSWERS, seconds=2)}, "ctranslate2": {"int8": script(ANSWERS, seconds=3)}}
    with bench(monkeypatch, ways) as b:
        found = b.ask(decode(0), 3)
    assert found.seconds == {LLMC: [2.0] * 3, "ctranslate2": [3.0] * 3}
    assert len(found.limit) == 3 and found.failed == {}


def test_the_fastest_way_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"plain,flash": script(ANSWERS, seconds=5), "extra,flash": script(ANSWERS, seconds=4)}
    with bench(monkeypatch, {LLMC: {"": script(ANSWERS, seconds=2)}, LLAMA_CPP: theirs}) as b:
        found = b.ask(decode(0), 2)
    assert found.ways[LLAMA_CPP] == "extra,flash" and found.seconds[LLAMA_CPP] == [4.0, 4.0]
    assert found.trials[LLAMA_CPP] == {"plain,flash": [5.0] * TRIALS, "extra,flash": [4.0] * TRIALS}


@pytest.mark.parametrize("after", [0, TRIALS + 1])
def test_a_peer_that_fails_is_out_and_named(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """In the trial and in the rounds; the others are measured all the same."""
    theirs = {"int8": script(FALLS, after=after)}
    with bench(monkeypatch, {LLMC: {"": script(ANSWERS, seconds=2)}, "ctranslate2": theirs}) as b:
        found = b.ask(decode(0), 3)
    assert found.seconds == {LLMC: [2.0] * 3} and "ctranslate2" not in found.ways
    assert "ZeroDivisionError" in " ".join(found.failed.values())


def test_models_lie_in_the_build_folder() -> None:
    assert Model("tiny", "q4_0").artifact == Path("build") / "bench" / "tiny-q4_0.llmc"
