"""The road a user takes: compile the bundled model, generate text with its native program and from Python."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import llmc
from tests.e2e.reference import Compiled

PROMPT = "The following example shows how to"


@pytest.fixture(scope="module")
def artifact(compiled: Compiled, demo_model: Path) -> Path:
    return compiled(demo_model)


def run(artifact: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llmc", "run", str(artifact), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_bundled_model_writes_text_about_python(artifact: Path) -> None:
    done = run(artifact, "-p", PROMPT, "-n", "24", "--temperature", "0")
    assert done.returncode == 0, done.stderr
    assert "Python" in done.stdout or "import" in done.stdout


def test_greedy_text_is_the_same_every_time_and_at_any_number_of_threads(artifact: Path) -> None:
    texts = {run(artifact, "-p", PROMPT, "-n", "24", "--temperature", "0", "--threads", n).stdout for n in ("1", "2", "2")}
    assert len(texts) == 1 and "" not in texts


def test_json_is_one_document(artifact: Path) -> None:
    done = run(artifact, "-p", PROMPT, "-n", "8", "--temperature", "0", "--json")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), dict)


def test_a_wrong_option_is_a_usage_error(artifact: Path) -> None:
    done = run(artifact, "--no-such-option", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "usage"


def test_greedy_decoding_from_python_follows_the_logits(artifact: Path) -> None:
    model = llmc.load(artifact, threads=2)
    ids = model.tokenizer.tokenize(PROMPT, add_special=True)
    for _ in range(8):
        ids.append(int(model.logits(ids)[-1].argmax()))
    text = model.tokenizer.detokenize(ids).decode()
    native = run(artifact, "-p", PROMPT, "-n", "8", "--temperature", "0").stdout
    assert text.removeprefix(PROMPT).strip() in native


def test_timings_say_where_the_time_went(artifact: Path) -> None:
    done = run(artifact, "-p", PROMPT, "-n", "4", "--timings", "--json")
    timings = json.loads(done.stdout)["timings"]
    assert [*timings["phases_ms"]] == ["load", "open", "tokenize", "session", "first_token"]
    assert timings["first_token_ms"] == pytest.approx(sum(timings["phases_ms"].values()), abs=0.01)
    work = {op["name"]: op["prompt_work_ms"] + op["token_work_ms"] for op in timings["ops"]}
    assert work["linear logits"] > 0 and "attention mixed" in work
    assert sum(op["prompt_work_ms"] for op in timings["ops"]) > 0
    lines = [line.split() for line in done.stderr.splitlines()]
    assert {"together", "prompt", "decode", "linear"} <= {words[0] for words in lines if words}
