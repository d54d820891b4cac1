"""Kernels and plans stay inside their memory, and read nothing that was not written: real models over memory with guard pages."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from llmc import target
from llmc.runtime import library
from tests.e2e.reference import Compiled, Reference

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")


@pytest.fixture(scope="module")
def guarded(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/runtime/c/guarded.c, built."""
    program = tmp_path_factory.mktemp("guarded") / "guarded"
    source = root / "tests" / "runtime" / "c" / "guarded.c"
    subprocess.run(["gcc", "-std=c11", "-O1", str(source), *shlex.split(library.flags()), "-o", str(program)], check=True)
    return program


def hashes(guarded: Path, artifact: Path, isa: str) -> set[str]:
    """Of the logits, with memory that held zeros and memory that held NaNs, with one worker and with three."""
    found = set()
    for byte, threads in ((0, 1), (255, 1), (255, 3)):
        command = [guarded, artifact, str(byte), str(threads), isa]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (byte, threads, done.returncode, done.stderr)
        found.add(done.stdout)
    return found


@pytest.mark.parametrize("isa", target.listing()["runs_here"])
def test_every_level(compiled: Compiled, demo_model: Path, guarded: Path, isa: str) -> None:
    assert len(hashes(guarded, compiled(demo_model, target="cpu"), isa)) == 1


@pytest.mark.parametrize("activations", ["int8", "f32"])
@pytest.mark.parametrize("fixture", ["llama_bias", "mixtral", "olmoe", "qwen3", "smollm3", "q_Q3_K_M", "q_Q5_1", "q_IQ4_XS"])
def test_families_and_formats(compiled: Compiled, reference: Reference, guarded: Path, activations: str) -> None:
    assert len(hashes(guarded, compiled(reference.model, activations), target.native().name)) == 1
