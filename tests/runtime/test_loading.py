"""What libllmc refuses to open: every file of an artifact truncated, altered in size, missing or foreign, and broken indexes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmc import artifact, debug
from llmc.errors import MalformedFileError, ToolchainError
from llmc.runtime import binding, library
from tests.runtime import fake

WEIGHTS, VOCABULARY, LIBRARY = artifact.WEIGHTS_NAME, artifact.VOCABULARY_NAME, artifact.PLATFORM_LIBRARY
FILES = [WEIGHTS, VOCABULARY, LIBRARY, artifact.PROGRAM_NAME, artifact.MANIFEST_NAME]


@pytest.fixture
def copy(fake_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fake_artifact, tmp_path / "copy.llmc"))


def refused(path: Path) -> str:
    with pytest.raises(MalformedFileError) as caught:
        binding.load(path, threads=1)
    return caught.value.message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 1, -1, +1])
def test_a_file_of_another_size_is_refused_by_name(copy: Path, name: str, size: int) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes((data + b"\0") if size > 0 else data[:size] if size < 0 else b"")
    assert name in refused(copy) and any(name in line for line in artifact.verify(copy))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert name in refused(copy) and f"{name}: missing" in artifact.verify(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_directory_in_the_place_of_a_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    (copy / name).mkdir()
    assert name in refused(copy)


@pytest.mark.parametrize("name", [WEIGHTS, VOCABULARY])
@pytest.mark.parametrize("at", range(0, 56, 3))
def test_a_changed_header_of_the_same_size_is_refused(copy: Path, name: str, at: int) -> None:
    data = bytearray((copy / name).read_bytes())
    data[at] ^= 0x40
    (copy / name).write_bytes(data)
    if not 12 <= at < 16:  # reserved
        assert name in refused(copy)


def test_weights_of_another_model_are_refused(copy: Path) -> None:
    weights = copy / WEIGHTS
    weights.write_bytes(artifact.weights_header(len(weights.read_bytes()), bytes(32)) + fake.RECITED)
    assert "another compiled model" in refused(copy)


def test_every_truncation_of_the_index_is_refused(copy: Path) -> None:
    index = copy / artifact.INDEX_NAME
    data = index.read_bytes()
    for n in [*range(0, 40), *range(40, len(data), 13)]:
        index.write_bytes(data[:n])
        assert artifact.INDEX_NAME in refused(copy), n
        with pytest.raises(MalformedFileError):
            artifact.verify(copy)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"X"), (8, b"\2"), (12, b"\0\0"), (12, b"\xff\xff\xff\xff"), (16, b"/"), (16, b".."), (16, b"\0"), (16, b"x" * 64),
     (80, b"\1")],
)  # fmt: skip
def test_an_index_that_makes_no_sense_is_refused(copy: Path, at: int, value: bytes) -> None:
    index = copy / artifact.INDEX_NAME
    data = bytearray(index.read_bytes())
    data[at : at + len(value)] = value
    index.write_bytes(data)
    assert refused(copy)


def test_an_artifact_without_this_platform_is_refused_as_such(copy: Path) -> None:
    (copy / LIBRARY).rename(copy / "other.so")
    artifact.write_index(copy, [artifact._entry(f, {}) for f in copy.iterdir() if f.name != artifact.INDEX_NAME])
    with pytest.raises(ToolchainError, match=LIBRARY):
        binding.load(copy)


@pytest.mark.parametrize("foreign", ["text", "libllmc"])
def test_a_library_that_is_no_artifact_is_refused(copy: Path, foreign: str) -> None:
    place = copy / LIBRARY
    place.unlink()
    place.write_bytes(library.path().read_bytes() if foreign == "libllmc" else b"no library")
    artifact.write_index(copy, [artifact._entry(f, {}) for f in copy.iterdir() if f.name != artifact.INDEX_NAME])
    assert LIBRARY in refused(copy)


def test_the_path_may_have_any_bytes_and_length(fake_artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "ö \N{GRINNING FACE}\n%s" / ("long" * 50)
    shutil.copytree(fake_artifact, place)
    with binding.load(place, threads=1) as model:
        assert model.logits([1]).shape == (1, 300)


def test_a_loaded_artifact_may_be_replaced(fake_artifact: Path, copy: Path, tmp_path: Path) -> None:
    """A model that is open goes on with the files it opened."""
    with binding.load(copy, threads=1) as model:
        before = model.logits([1, 2, 3])
        artifact.publish(Path(shutil.copytree(fake_artifact, tmp_path / "new")), copy)
        assert (model.logits([1, 2, 3]) == before).all()
    with binding.load(copy, threads=1) as model:
        assert (model.logits([1, 2, 3]) == before).all()


def test_only_llmc_functions_are_exported(fake_artifact: Path) -> None:
    def exported(file: Path) -> list[str]:
        out = subprocess.run(["nm", "-D", "--defined-only", str(file)], capture_output=True, text=True, check=True).stdout
        return sorted(line.split()[-1] for line in out.splitlines())

    assert exported(fake_artifact / LIBRARY) == ["llmc_api"]
    names = exported(library.path())
    assert "llmc_model_open" in names and all(n.startswith("llmc_") for n in names)
    assert not [n for n in names if n.startswith(("llmc_rt_", "llmc_tokenizer_"))]


def test_two_processes_may_build_the_library_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):  # the compiler's own libraries need not be built again
        monkeypatch.setenv(name, str(debug.cache_dir() / "zig"))
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path))
    code = "from llmc.runtime import library; print(library.path().exists())"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [p.communicate()[0] for p in running] == ["True\n"] * 2
    assert len([*(tmp_path / "lib").iterdir()]) == 1
