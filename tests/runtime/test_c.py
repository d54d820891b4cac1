"""The C tests: each is a program, built with address and undefined-behaviour sanitizers, run on the fake model's files."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmc import target
from tests.runtime import fake

PROGRAMS = sorted(p.stem for p in fake.HERE.glob("test_*.c"))
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc, for its sanitizers, is not installed")


Run = Callable[[str], str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Builds a test with the address and undefined-behaviour sanitizers, runs it, and gives what it printed."""
    return runner(tmp_path_factory.mktemp("c"), fake.MEMORY)


def runner(folder: Path, sanitizer: tuple[str, ...]) -> Run:
    """Runs tests on the fake model's files, which it writes into folder."""
    (folder / "model").mkdir()
    fake.write_files(folder / "model")
    objects = fake.build_objects(folder, sanitizer)

    def run(name: str) -> str:
        program = fake.build_test(name, objects, folder, sanitizer)
        done = subprocess.run([program, folder / "model"], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", [p for p in PROGRAMS if p != "test_cpu"])
def test_program(run: Run, name: str) -> None:
    run(name)


def test_threads_share_nothing_unguarded(tmp_path: Path) -> None:
    run = runner(tmp_path, fake.THREADS)
    run("test_sessions")
    run("test_generate")
    run("test_experts")
    run("test_pool")


def test_levels_need_what_the_target_table_says(run: Run) -> None:
    features, *levels, cores = map(int, run("test_cpu").split())
    runs = target.listing()["runs_here"]
    assert [name for name, level in zip(target.ISAS, levels, strict=True) if level & ~features == 0] == runs
    assert cores >= 1
