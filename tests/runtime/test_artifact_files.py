"""compiler/artifact.py: what it writes it reads back, verifies, and never half replaces."""

import json
from pathlib import Path

import pytest

from llmc import artifact
from llmc.errors import MalformedFileError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(1000))
    artifact.write_vocabulary(folder, b"words")
    artifact.write_manifest(folder, {"name": "ü", "b": {"z": 1, "a": [2]}})
    return folder


def test_the_manifest_is_sorted_ascii_with_every_other_file(folder: Path) -> None:
    text = (folder / artifact.MANIFEST_NAME).read_text(encoding="ascii")
    manifest = artifact.read_manifest(folder)
    assert text == json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    assert manifest["name"] == "ü" and manifest["format_version"] == artifact.FORMAT_VERSION
    assert {n: f["size"] for n, f in manifest["files"].items()} == {"weights.bin": 1000, artifact.VOCABULARY_NAME: 69}


def test_sums_that_are_known_are_not_computed_again(folder: Path) -> None:
    known = {"weights.bin": "ab" * 32}
    artifact.write_manifest(folder, {}, known=known)
    assert artifact.read_manifest(folder)["files"]["weights.bin"]["sha256"] == known["weights.bin"]
    assert "weights.bin: its content has changed" in artifact.verify(folder)


def test_the_vocabulary_comes_back(folder: Path) -> None:
    assert artifact.read_vocabulary(folder) == b"words"
    for data in (b"", bytes(63), bytes(64), (folder / artifact.VOCABULARY_NAME).read_bytes()[:-1]):
        (folder / artifact.VOCABULARY_NAME).write_bytes(data)
        with pytest.raises(MalformedFileError):
            artifact.read_vocabulary(folder)


def test_verify_finds_a_change_in_every_byte(folder: Path) -> None:
    assert artifact.verify(folder) == []
    for file in folder.iterdir():
        data = file.read_bytes()
        for at in range(0, len(data), 7):
            file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            try:
                assert artifact.verify(folder), (file.name, at)
            except MalformedFileError:
                assert file.name in (artifact.INDEX_NAME, artifact.MANIFEST_NAME)
        file.write_bytes(data)


def test_verify_names_what_is_not_listed(folder: Path) -> None:
    (folder / "extra").write_text("x")
    assert artifact.verify(folder) == ["extra: not part of the artifact"]


def test_a_manifest_that_lists_other_files_than_the_index(folder: Path) -> None:
    manifest = folder / artifact.MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace('"size": 1000', '"size": 1001'))
    artifact.write_index(folder, [artifact._entry(f, {}) for f in folder.iterdir() if f.name != artifact.INDEX_NAME])
    assert artifact.verify(folder) == ["manifest.json: its files are not those of artifact.bin"]


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    for read in (artifact.verify, artifact.read_manifest, artifact.read_index):
        with pytest.raises(MalformedFileError, match="not an llmc artifact"):
            read(tmp_path)


def test_publishing_replaces_an_artifact_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.llmc"
    artifact.publish(folder, out)
    assert artifact.verify(out) == [] and not folder.exists()
    folder.mkdir()
    artifact.write_vocabulary(folder, b"new")
    artifact.write_manifest(folder, {})
    artifact.publish(folder, out)
    assert artifact.read_vocabulary(out) == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["out.llmc"]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_publishing_over_something_else_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("x")
    if kind == "file":
        out.write_text("x")
    elif kind == "folder":
        out.mkdir()
        (out / "precious").write_text("x")
    else:
        out.symlink_to(other)
    with pytest.raises(UsageError, match="not an artifact"):
        artifact.publish(folder, out)
    assert folder.exists() and (other / "precious").exists() and (kind != "folder" or (out / "precious").exists())


def test_an_empty_folder_may_become_an_artifact(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    artifact.publish(folder, out)
    assert artifact.verify(out) == []
