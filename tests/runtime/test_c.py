"""The C tests: each is a program, built with address and undefined-behaviour sanitizers, run on the fake model's files."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llmc import target
from tests.runtime import fake

PROGRAMS = sorted(p.stem for p in fake.HERE.glob("test_*.c"))
pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc, for its sanitizers, is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs are built; model/ below it holds the fake model's files."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "model").mkdir()
    fake.write_files(folder / "model")
    return folder


def run(folder: Path, name: str) -> str:
    program = fake.build_test(name, folder)
    done = subprocess.run([program, folder / "model"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [p for p in PROGRAMS if p != "test_cpu"])
def test_program(folder: Path, name: str) -> None:
    run(folder, name)


def test_levels_need_what_the_target_table_says(folder: Path) -> None:
    features, *levels, cores = map(int, run(folder, "test_cpu").split())
    runs = target.listing()["runs_here"]
    assert [name for name, level in zip(target.ISAS, levels, strict=True) if level & ~features == 0] == runs
    assert cores >= 1
