"""The C tests: each is a program, built with address and undefined-behaviour sanitizers, run on the fake model's files."""

import shutil
import subprocess
from collections.abc import Callable

import pytest

from llmc import target
from tests.runtime import fake

PROGRAMS = sorted(p.stem for p in fake.HERE.glob("test_*.c"))
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc, for its sanitizers, is not installed")


Run = Callable[[str], str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Builds a test, runs it on the fake model's files, and gives what it printed."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "model").mkdir()
    fake.write_files(folder / "model")
    objects = fake.build_objects(folder)

    def run(name: str) -> str:
        program = fake.build_test(name, objects, folder)
        done = subprocess.run([program, folder / "model"], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", [p for p in PROGRAMS if p != "test_cpu"])
def test_program(run: Run, name: str) -> None:
    run(name)


def test_levels_need_what_the_target_table_says(run: Run) -> None:
    features, *levels, cores = map(int, run("test_cpu").split())
    runs = target.listing()["runs_here"]
    assert [name for name, level in zip(target.ISAS, levels, strict=True) if level & ~features == 0] == runs
    assert cores >= 1
