"""The command line's promises: exit codes, one JSON document on stdout whatever happens, messages on stderr."""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import llmc
from llmc import cli, debug, progress
from llmc.errors import DeviceError, LlmcError, MalformedFileError, ToolchainError, UnsupportedModelError, UsageError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: object, **__: object) -> Any:
        raise error

    return function


def commands() -> list[str]:
    return sorted(cli.commands.commands)


@pytest.mark.parametrize("command", commands())
def test_every_command_explains_itself(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert code == 0 and err == ""
    assert out.startswith(f"Usage: llmc {command}")


@pytest.mark.parametrize("command", [c for c in commands() if c != "run"])
def test_every_command_offers_json(run: Run, command: str) -> None:
    assert "--json" in run(command, "--help")[1]


@pytest.mark.parametrize("arguments", [["compile"], ["compile", "no such file"], ["inspect", "--what"], ["nonsense"], []])
def test_a_usage_error_is_one_document_and_exit_code_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments, "--json")
    error = json.loads(out)["error"]
    assert code == 2
    assert error["kind"] == "usage" and error["message"] and error["hint"]
    assert error["message"] in err and "Traceback" not in err


def test_no_arguments_print_the_help_on_stderr(run: Run) -> None:
    code, out, err = run()
    assert (code, out) == (2, "") and "compile" in err


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (UnsupportedModelError("tensor x has type iq1_m", hint="llmc formats"), 3, "unsupported_model"),
        (MalformedFileError("key y is missing"), 4, "malformed_file"),
        (ToolchainError("no linker"), 5, "toolchain"),
        (DeviceError("no memory"), 6, "device"),
        (UsageError("both a and b"), 2, "usage"),
        (MemoryError(), 6, "device"),
        (OSError(errno.ENOSPC, "No space left on device", "weights.bin"), 6, "device"),
        (PermissionError(errno.EACCES, "Permission denied", "out.llmc"), 2, "usage"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("division by zero"), 1, "internal"),
    ],
)
def test_every_failure_is_one_document_with_its_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, demo_model: Path, error: BaseException, code: int, kind: str
) -> None:
    monkeypatch.setattr(llmc, "compile", raising(error))
    got, out, err = run("compile", demo_model, "--json")
    document = json.loads(out)["error"]
    assert (got, document["kind"]) == (code, kind)
    assert document["message"] in err and "Traceback" not in err


def test_a_hint_stands_on_its_own_line(run: Run, monkeypatch: pytest.MonkeyPatch, demo_model: Path) -> None:
    monkeypatch.setattr(llmc, "compile", raising(ToolchainError("no linker", hint="pip install ziglang")))
    assert run("compile", demo_model) == (5, "", "llmc: no linker\n      pip install ziglang\n")


def test_verbose_shows_the_traceback_of_a_bug(run: Run, monkeypatch: pytest.MonkeyPatch, demo_model: Path) -> None:
    monkeypatch.setattr(llmc, "compile", raising(ZeroDivisionError("division by zero")))
    code, out, err = run("compile", demo_model, "-v")
    assert (code, out) == (1, "") and "Traceback" in err and "bug in llmc" in err


def test_exit_codes_are_those_of_the_exceptions() -> None:
    assert {e.exit_code for e in LlmcError.__subclasses__()} == {2, 3, 4, 5, 6}
    assert all(cli._explain(e("x"))[1] == e.exit_code for e in LlmcError.__subclasses__())


@pytest.mark.parametrize("error", [click.UsageError("a"), click.BadParameter("b"), click.FileError("c", "d")])
def test_what_click_raises_is_a_usage_error(error: click.ClickException) -> None:
    assert cli._explain(error)[1] == 2


@pytest.mark.parametrize("command", ["formats", "targets", "doctor"])
def test_listings_are_one_document_with_json_and_lines_without(run: Run, command: str) -> None:
    assert isinstance(json.loads(run(command, "--json")[1]), dict)
    code, out, err = run(command)
    assert code == 0 and len(out.splitlines()) > 2 and err == ""


def test_running_a_checkpoint_says_to_compile_it(run: Run, demo_model: Path) -> None:
    code, out, err = run("run", demo_model, "-p", "x", "--json")
    assert code == 2 and "llmc compile" in json.loads(out)["error"]["hint"]


def test_run_becomes_the_artifacts_program_and_passes_everything_on(tmp_path: Path) -> None:
    program = tmp_path / "run"
    program.write_text('#!/bin/sh\necho "$0" "$@"\nexit 7\n')
    program.chmod(0o755)
    command = [sys.executable, "-m", "llmc", "run", str(tmp_path), "-p", "a b", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, f"{program} -p a b --json\n")


def test_a_reader_that_stops_reading_is_no_error() -> None:
    shell = f"{sys.executable} -m llmc formats | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""


def test_a_terminal_gets_bars_and_stdout_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with debug.scoped(NO_COLOR="1"), progress.shown(quiet=False, verbose=False) as report:
        assert report is not None
        report("packing weights", 0, 10)
        report("packing weights", 10, 10)
    out, err = capsys.readouterr()
    assert out == "" and "packing weights" in err and "\x1b[3" not in err


def test_quiet_means_no_progress_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress.shown(quiet=True, verbose=True) as report:
        assert report is None


def test_progress_stays_off_when_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(quiet=False, verbose=False) as report:
        assert report is None
    with progress.shown(quiet=False, verbose=True) as report:
        assert report is not None
        report("kernels", 0, 2)
        report("kernels", 1, 2)
        report("link", 0, 1)
    out, err = capsys.readouterr()
    assert out == "" and [line.split()[-1] for line in err.splitlines()] == ["kernels", "link"]
