"""The safetensors reader: what it gives, and that no damaged file is taken for a sound one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.safetensors import read_shard
from tests.safetensors_bytes import encode, header, safetensors

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.float16), "none": np.zeros((0, 4), np.float32)
}  # fmt: skip
DATA = b"".join(t.tobytes() for t in TENSORS.values())


def entries(**changes: Any) -> dict[str, Any]:
    """The sound header, with fields of tensor "a" replaced."""
    found = header(TENSORS)
    found["a"] |= changes
    return found


def refused(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(MalformedFileError) as error:
        read_shard(path, 0)
    return str(error.value)


def test_gives_shapes_types_and_places(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors(TENSORS))
    shard = read_shard(path, 3)
    for name, expected in TENSORS.items():
        t = shard.tensors[name]
        stored = np.frombuffer(shard.data[t.offset : t.offset + t.nbytes], expected.dtype).reshape(t.shape)
        assert t.file == 3 and np.array_equal(stored, expected)


def test_spaces_and_metadata_may_follow_the_format(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    raw = json.dumps({"__metadata__": {"format": "pt"}, **entries()}).encode() + b" " * 70
    path.write_bytes(encode(raw, DATA))
    assert set(read_shard(path, 0).tensors) == {"a", "b", "none"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"data_offsets": [-4, 20]}, "tensor a"),
        ({"data_offsets": [0.0, 24.0]}, "tensor a"),
        ({"data_offsets": [0, 20]}, "takes 24 bytes"),
        ({"data_offsets": [24, 0]}, "ascending"),
        ({"data_offsets": [0, 24, 24]}, "tensor a"),
        ({"data_offsets": [4, 28]}, "behind the header"),
        ({"data_offsets": [1 << 62, (1 << 62) + 24]}, "beyond the file's end"),
        ({"shape": [2, True]}, "shape"),
        ({"shape": [1 << 62, 1 << 62]}, "takes"),
        ({"shape": [6] + [1] * 8}, "shape"),
        ({"dtype": "F17"}, "F17"),
        ({"dtype": 32}, "dtype 32"),
        ({"more": 1}, "no object of dtype"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    message = refused(tmp_path, encode(entries(**changes), DATA))
    assert word in message and "m.safetensors" in message


def test_narrow_types_are_refused_as_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(encode(entries(dtype="F4"), DATA))
    with pytest.raises(UnsupportedModelError, match="F4"):
        read_shard(path, 0)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b"[]", "brace"),
        (b" {}", "brace"),
        (b"{]", "not JSON"),
        (b'{"\xff":1}', "UTF-8"),
        (b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", "JSON depth"),
        (b'{"a":' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"__metadata__":{"a":1}}', "__metadata__"),
        (b'{"":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', "tensor name"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, raw: bytes, word: str) -> None:
    assert word in refused(tmp_path, encode(raw, bytes(4)))


def test_bytes_that_no_tensor_owns_are_refused(tmp_path: Path) -> None:
    """What follows the data may be a second file to another reader."""
    assert "belong to no tensor" in refused(tmp_path, safetensors(TENSORS) + b"PK\x03\x04")
    two = {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}
    assert "tensor b overlaps tensor a" in refused(tmp_path, encode(two, bytes(6)))


def test_truncation_anywhere_is_refused(tmp_path: Path) -> None:
    whole = safetensors(TENSORS)
    for size in range(len(whole)):
        refused(tmp_path, whole[:size])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 200), new=st.binary(min_size=1, max_size=4))
def test_damage_is_refused_or_harmless(tmp_path: Path, at: int, new: bytes) -> None:
    content = bytearray(safetensors(TENSORS))
    content[at : at + len(new)] = new
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    try:
        shard = read_shard(path, 0)
    except LlmcError as e:
        assert e.exit_code in (3, 4)
    else:
        assert all(t.offset + t.nbytes <= len(content) for t in shard.tensors.values())
