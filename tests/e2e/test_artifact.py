"""What an artifact is: the same bytes wherever it is made, in need of a C library alone, without a trace of its maker."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc import debug, target
from tests.e2e.reference import Compiled

C_LIBRARY = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2"}


@pytest.fixture(scope="module")
def portable(compiled: Compiled, demo_model: Path) -> Path:
    return compiled(demo_model, target="cpu")


def elves(artifact: Path) -> list[Path]:
    """The libraries and programs of an artifact."""
    found = [f for f in artifact.rglob("*") if f.is_file() and f.read_bytes().startswith(b"\x7fELF")]
    assert found
    return found


def tool(*command: object) -> str:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


def digests(artifact: Path) -> dict[str, str]:
    files = (f for f in artifact.rglob("*") if f.is_file())
    return {f.relative_to(artifact).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_it_needs_the_c_library_alone(portable: Path) -> None:
    for elf in elves(portable):
        needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", tool("readelf", "-dW", elf)))
        assert needed <= C_LIBRARY, elf.name


def test_the_library_exports_one_function(portable: Path) -> None:
    (library,) = [f for f in elves(portable) if f.suffix == ".so"]
    assert re.findall(r"^\S+ \S (\S+)$", tool("nm", "-D", "--defined-only", library), re.MULTILINE) == ["llmc_api"]


def test_nothing_in_it_tells_where_it_was_made(portable: Path, root: Path) -> None:
    places = {str(root), str(Path.home()), str(portable.parent), sys.prefix, str(debug.cache_dir())} - {"/"}
    for file in (f for f in portable.rglob("*") if f.is_file()):
        data = file.read_bytes()
        assert not [p for p in places if p.encode() in data], file.name


def test_it_is_as_its_manifest_says_until_a_byte_changes(portable: Path, tmp_path: Path) -> None:
    assert llmc.verify(portable) == []
    for file in sorted(portable.iterdir()):
        copy = tmp_path / file.name
        shutil.copytree(portable, copy)
        data = bytearray((copy / file.name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / file.name).write_bytes(data)
        assert changed(copy), file.name
        shutil.rmtree(copy)


def changed(artifact: Path) -> bool:
    """Whether verifying notices: a difference listed, or an index that no longer makes sense."""
    try:
        return bool(llmc.verify(artifact))
    except llmc.MalformedFileError:
        return True


def test_every_level_agrees_with_exact_arithmetic(portable: Path, compiled: Compiled, demo_model: Path) -> None:
    exact = llmc.load(compiled(demo_model, "f32"), threads=2)
    ids = exact.tokenizer.tokenize("The following example shows how to use a list comprehension", add_special=True)
    want = exact.logits(ids)
    for isa in target.listing()["runs_here"]:
        got = llmc.load(portable, threads=2, isa=isa).logits(ids)
        assert (got.argmax(-1) == want.argmax(-1)).mean() > 0.7 and np.abs(got - want).mean() < 0.2, isa


CONDITIONS = {
    "another locale, zone, hash seed and place": {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    "one processor": {},
    "numpy without its vector code": {"NPY_DISABLE_CPU_FEATURES": "?"},
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_two_builds_are_equal(compiled: Compiled, demo_model: Path, tmp_path: Path, condition: str) -> None:
    """The second build has an empty kernel cache, so kernels are built twice too."""
    first = compiled(demo_model, target="cpu:avx2")
    place = tmp_path / ("x" * 40)
    place.mkdir()
    source = shutil.copy(demo_model, place / "m.gguf")
    extra = {k: dispatched_features() if v == "?" else v for k, v in CONDITIONS[condition].items()}
    command = [sys.executable, "-m", "llmc", "compile", str(source), "--target", "cpu:avx2", "-o", "o.llmc"]
    if condition == "one processor":
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]
    subprocess.run(command, cwd=place, env={**os.environ, **extra, "LLMC_CACHE": str(place / "cache")}, check=True)
    assert digests(place / "o.llmc") == digests(first)


def dispatched_features() -> str:
    """Every processor feature numpy would choose code by."""
    core = import_module("numpy._core._multiarray_umath")
    return " ".join(f for f in core.__cpu_dispatch__ if core.__cpu_features__[f])
