"""The synthetic models: read back by the gguf package, of the shape and spread they claim, the same for the same seed."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from benchmarks import make_model, vocabulary
from benchmarks.make_model import KINDS, SHAPES, storage_of, tensors
from benchmarks.random_blocks import STORAGE, Pools


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tiny", "tiny-moe"])
def test_an_independent_reader_finds_what_was_asked_for(tmp_path: Path, name: str, kind: str) -> None:
    path, shape = tmp_path / "tiny.gguf", SHAPES[name]
    make_model.make(name, kind, path)
    reader = gguf.GGUFReader(path)
    assert reader.fields["llama.block_count"].contents() == shape.layers
    assert reader.fields["general.file_type"].contents() == KINDS[kind]
    found = {t.name: t for t in reader.tensors}
    for t in tensors(shape):
        assert tuple(int(d) for d in reversed(found[t.name].shape)) == t.shape
        if not t.is_f32:
            assert found[t.name].tensor_type == storage_of(shape, t, kind).ggml_type
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == shape.vocab


@pytest.mark.parametrize("name", STORAGE)
@pytest.mark.parametrize("std", [0.01, 0.5])
def test_random_weights_have_the_wanted_spread(name: str, std: float) -> None:
    storage = STORAGE[name]
    raw = np.frombuffer(b"".join(Pools(seed=3).tensor("x", storage, 1 << 18, std)), np.uint8)
    dense = storage.weights == 1  # which the package takes as numbers, not as bytes
    weights = gguf.dequantize(raw.view(np.float16) if dense else raw, gguf.GGMLQuantizationType(storage.ggml_type))
    assert weights.size == 1 << 18 and np.isfinite(weights).all()
    assert abs(weights.std() / std - 1) < (0.42 if name == "mxfp4" else 0.1)  # its scales are powers of two
    assert abs(weights.mean()) < (0.25 if name == "q3_k" else 0.15) * std  # its levels are -4 to 3


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.gguf" for i in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        make_model.make("tiny", "q4_k_m", path, seed)
    first, again, other = (p.read_bytes() for p in paths)
    assert first == again != other


def test_a_mix_gives_more_bits_to_the_head_and_some_layers() -> None:
    shape = SHAPES["llama-1b"]
    formats = {t.name: storage_of(shape, t, "q4_k_m").name for t in tensors(shape) if len(t.shape) == 2}
    assert formats["token_embd.weight"] == "q6_k"
    assert {formats[f"blk.{i}.attn_q.weight"] for i in range(16)} == {"q4_k"}
    assert {formats[f"blk.{i}.ffn_down.weight"] for i in range(16)} == {"q4_k", "q6_k"}


def test_rows_that_are_no_super_blocks_take_smaller_ones() -> None:
    shape = SHAPES["qwen-0.5b"]  # 896 columns
    formats = {storage_of(shape, t, "q4_k_m").name for t in tensors(shape) if len(t.shape) == 2 and t.shape[1] == 896}
    assert formats == {"q5_0", "q8_0"}


@pytest.mark.parametrize("size", [300, 4096, 128256])
def test_a_vocabulary_has_no_token_twice_and_every_merge_joins_two_that_exist(size: int) -> None:
    words = vocabulary.make(size, 4)
    assert len(words.tokens) == len(words.types) == len(set(words.tokens)) == size
    known = set(words.tokens)
    for left, right in (merge.split(" ") for merge in words.merges):
        assert left in known and right in known and left + right in known
    assert words.tokens[words.bos] == "<|begin_of_text|>" and words.tokens[words.eos] == "<|end_of_text|>"


def test_byte_tokens_are_those_of_byte_level_bpe() -> None:
    tokens = vocabulary.byte_tokens()
    assert len(set(tokens)) == 256
    assert (tokens[ord("A")], tokens[ord(" ")], tokens[0], tokens[255]) == ("A", vocabulary.SPACE, "\u0100", "\u00ff")
