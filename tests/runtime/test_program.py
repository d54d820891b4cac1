"""The program `run` of an artifact: its options, its one JSON document, its exit codes."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmc import artifact
from tests.runtime import fake


def run(folder: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(folder / artifact.PROGRAM_NAME), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, errors="replace", check=False, cwd="/")


def document(folder: Path, *arguments: str) -> dict[str, Any]:
    done = run(folder, *arguments, "--json")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_text_goes_to_stdout_and_nothing_else(fake_artifact: Path) -> None:
    done = run(fake_artifact, "-p", "x", "--no-special", "--stop", "<stop>")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello é€ world", "")


def test_the_prompt_may_come_from_a_file_or_standard_input(fake_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("x")
    for arguments, text in ((["-f", str(tmp_path / "prompt")], ""), (["-f", "-"], "x"), (["--prompt=x"], "")):
        assert run(fake_artifact, *arguments, "-n", "5", "--no-special", text=text).stdout == "Hello"
    assert run(fake_artifact, "-p", "", "-n", "4").stdout == "Hell"  # the BOS is a token


def test_json_is_one_document(fake_artifact: Path) -> None:
    result = document(fake_artifact, "-p", "x", "--no-special", "--stop", "or", "--stop", "<stop>", "--threads", "1")
    timings = result.pop("timings")
    assert result == {
        "text": "Hello é€ w", "reason": "stop_text", "prompt_tokens": 1, "tokens": 15, "model": "fake", "isa": "best",
        "device": "cpu",
    }  # fmt: skip
    rates = {"prompt_tokens_per_second", "decode_tokens_per_second"}
    assert set(timings) == {"open_ms", "prompt_ms", "decode_ms", "first_token_ms"} | rates
    assert all(t > 0 for t in timings.values())


def test_json_holds_any_bytes(fake_artifact: Path) -> None:
    for seed in range(20):
        result = document(fake_artifact, "-p", "x" * 50, "-n", "100", "--temperature", "3", "--seed", str(seed), "--ignore-end")
        assert result["tokens"] == 100 and result["reason"] == "max_tokens" and "�" in result["text"]


def test_timings_go_to_stderr(fake_artifact: Path) -> None:
    done = run(fake_artifact, "-p", "x", "-n", "4", "--no-special", "--timings")
    assert done.stdout == "Hell" and "4 tokens" in done.stderr and "tokens/s" in done.stderr


def test_help(fake_artifact: Path) -> None:
    done = run(fake_artifact, "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage:") and done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [[], ["-p"], ["-p", "x", "--what"], ["-p", "x", "y"], ["-p", "x", "-n", "many"], ["-p", "x", "-n", "-1"],
     ["-p", "x", "-n", ""], ["-p", "x", "--temperature", "hot"], ["-p", "x", "--temperature", "nan"], ["-p", "x", "--top-p", "2"],
     ["-p", "x", "--seed", "-1"], ["-p", "x", "--seed", "99999999999999999999999"], ["-p", "x", "--stop", ""],
     ["-p", "x", "--json=yes"], ["-p", "x", "-f", "y"], ["-p", "x", "--threads", "2000"], ["-p", "x", "--context", "1001"],
     ["-p", "x" * 1001], ["-f", "/no/such/file"], ["-", "x"], ["-p", "", "--no-special"], ["-p", "x", *["--stop", "a"] * 65]],
)  # fmt: skip
def test_arguments_that_make_no_sense(fake_artifact: Path, arguments: list[str]) -> None:
    done = run(fake_artifact, "--json", *arguments)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["kind"]) == (2, "usage")
    assert error["message"] in done.stderr and done.stderr.startswith("run: ")
    assert run(fake_artifact, *arguments).stdout == ""


def test_other_failures_have_other_codes(fake_artifact: Path, tmp_path: Path) -> None:
    assert document(fake_artifact, "-p", "x", "--isa", "never")["error"]["kind"] == "toolchain"
    assert run(fake_artifact, "-p", "x", "--isa", "never").returncode == 5
    copy = Path(shutil.copytree(fake_artifact, tmp_path / "c"))
    (copy / artifact.WEIGHTS_NAME).write_bytes(b"short")
    done = run(copy, "-p", "x", "--json")
    assert done.returncode == 4 and artifact.WEIGHTS_NAME in json.loads(done.stdout)["error"]["message"]


def test_it_finds_its_model_through_links_and_from_anywhere(fake_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(fake_artifact / artifact.PROGRAM_NAME)
    done = subprocess.run([tmp_path / "link", "-p", "x", "-n", "5", "--no-special"], capture_output=True, text=True, check=False)
    assert done.stdout == "Hello"


def test_sampling_is_repeatable_at_any_number_of_threads(fake_artifact: Path) -> None:
    options = ["-p", "some text", "--temperature", "1", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.01", "--seed", "3",
               "--repetition-penalty", "1.2"]  # fmt: skip
    texts = {document(fake_artifact, *options, "--threads", n)["text"] for n in ("1", "2", "3", "8")}
    assert len(texts) == 1
    assert document(fake_artifact, *options[:-4], "--seed", "4")["text"] not in texts


def test_a_reader_that_goes_away_ends_it(fake_artifact: Path) -> None:
    program = fake_artifact / artifact.PROGRAM_NAME
    command = f"{program} -p x -n 900 --ignore-end | head -c 3"
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60).stdout


def test_the_fake_model_recites_what_these_tests_expect() -> None:
    assert fake.RECITED.decode() == "Hello é€ world<stop>more"
