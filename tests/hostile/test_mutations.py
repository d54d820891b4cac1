"""A sound model with damage nobody planned: opening it succeeds or raises an LlmcError, and does so at once."""

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.errors import LlmcError
from llmc.frontend.load import open_model

INTERESTING = [0, 1, 2, 7, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


@pytest.fixture(scope="module")
def sound(shared: Path) -> bytes:
    return (shared / "corpora" / "hostile" / "valid.gguf").read_bytes()


@pytest.fixture(scope="module")
def header(sound: bytes) -> int:
    """Bytes before the weights."""
    return sound.index(b"blk.1.ffn_down.weight") + 64


def answers(path: Path, content: bytes) -> bool:
    """Whether the file opens; any exception but LlmcError fails the test."""
    path.write_bytes(content)
    try:
        open_model(path)
    except LlmcError as e:
        assert e.exit_code in (3, 4) and e.message
        return False
    return True


def test_the_sound_model_opens(tmp_path: Path, sound: bytes) -> None:
    assert answers(tmp_path / "m.gguf", sound)


def test_truncation_anywhere_is_refused(tmp_path: Path, sound: bytes, header: int) -> None:
    for size in [*range(0, header, 97), *range(header, len(sound), 5003), len(sound) - 32]:
        assert not answers(tmp_path / "m.gguf", sound[:size]), size


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_of_the_header_may_change(tmp_path: Path, sound: bytes, header: int, data: st.DataObject) -> None:
    content = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, header))
        new = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=4),
                st.sampled_from(INTERESTING).map(lambda n: struct.pack("<Q", n)),
                st.sampled_from([float("nan"), float("inf"), -1.0, 0.0, 1e38]).map(lambda x: struct.pack("<f", x)),
            )
        )
        content[at : at + len(new)] = new
    answers(tmp_path / "m.gguf", bytes(content))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_key_may_hold_any_value(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    """Values of the model's own keys, found by their names, replaced by extreme ones of the same type."""
    name = data.draw(
        st.sampled_from(
            "block_count context_length embedding_length feed_forward_length attention.head_count attention.head_count_kv "
            "rope.dimension_count rope.freq_base attention.layer_norm_rms_epsilon".split()
        )
    )
    at = sound.index(b"llama." + name.encode()) + len("llama." + name)
    kind = struct.unpack_from("<I", sound, at)[0]
    if kind == 6:
        value = struct.pack("<f", data.draw(st.floats(width=32)))
    else:
        value = struct.pack(
            "<I", data.draw(st.one_of(st.sampled_from([n for n in INTERESTING if n < 2**32]), st.integers(0, 4096)))
        )
    answers(tmp_path / "m.gguf", sound[: at + 4] + value + sound[at + 8 :])
