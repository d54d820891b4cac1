"""From the keys of a GGUF file to a vocabulary and its blob: the rules, the refusals, the layout."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.gguf import read_gguf
from llmc.frontend.pretokenize import PRE_TOKENIZERS, by_name
from llmc.frontend.tokenizer import ALPHABET, HEADER, VERSION, Flag, Section, compile_tokenizer, to_bytes
from llmc.frontend.tokenizer_tables import bucketed, descending_keys, hash_strings, merge_index, pool, text_index, trie
from llmc.frontend.tokenizer_vocabulary import Attribute, read_vocabulary
from tests.gguf_bytes import ARRAY, BOOL, STRING, File, key

U32, I32, F32 = 4, 5, 6
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def checkpoint(folder: Path, *keys: bytes, **given: Any) -> Checkpoint:
    """An open GGUF file with a small byte-level BPE, but for what `given` replaces, by the key's last name (None: left out)."""
    tokens = given.get("tokens", [*ALPHABET, "ab", "<|eot_id|>"])
    values = {
        "model": (STRING, "gpt2"),
        "pre": (STRING, "gpt-2"),
        "tokens": (ARRAY, (STRING, tokens)),
        "token_type": (ARRAY, (I32, given.get("token_type", [NORMAL] * len(tokens)))),
        "merges": (ARRAY, (STRING, given.get("merges", ["a b"]))),
    }
    for name in ("model", "pre"):
        values[name] = (STRING, given.get(name, values[name][1]))
    parts = [key("general.architecture", STRING, "llama")]
    parts += [key(f"tokenizer.ggml.{name}", *value) for name, value in values.items() if given.get(name, "") is not None]
    path = folder / "vocabulary.gguf"
    path.write_bytes(File(keys=[*parts, *keys], infos=[]).encode())
    return read_gguf(path, vocabulary_only=True)


def spm(
    folder: Path, *keys: bytes, tokens: Sequence[str] = ("<unk>", "<s>", "</s>", "a", "b", "ab"),
    types: Sequence[int] = (2, 3, 3, 1, 1, 1), scores: Sequence[float] | None = None,
) -> Checkpoint:  # fmt: skip
    scores = key("tokenizer.ggml.scores", ARRAY, (F32, list(scores or range(len(tokens)))))
    return checkpoint(
        folder, scores, *keys, model="llama", pre="default", merges=None, tokens=list(tokens), token_type=list(types)
    )


def token_id(role: str, number: int) -> bytes:
    return key(f"tokenizer.ggml.{role}_token_id", U32, number)


# ---- What a file leaves unsaid


def test_completes_roles_from_texts_and_defaults(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(checkpoint(tmp_path, token_id("eos", 256)))
    assert vocabulary.roles == {"bos": 11, "eos": 256, "eot": 257}
    assert vocabulary.attributes[257] == Attribute.NORMAL | Attribute.CONTROL | Attribute.END_OF_GENERATION
    assert vocabulary.attributes[256] == Attribute.NORMAL | Attribute.END_OF_GENERATION
    assert not (vocabulary.add_bos or vocabulary.add_eos)


def test_sentencepiece_has_defaults_of_its_own(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(spm(tmp_path))
    assert vocabulary.roles == {"bos": 1, "eos": 2, "unknown": 0}
    assert (vocabulary.add_bos, vocabulary.add_eos, vocabulary.add_space_prefix, vocabulary.clean_spaces) == (
        True,
        False,
        True,
        False,
    )


def test_an_id_that_says_none_is_no_id(tmp_path: Path) -> None:
    assert "pad" not in read_vocabulary(checkpoint(tmp_path, token_id("padding", 0xFFFFFFFF))).roles


def test_a_missing_or_empty_pre_is_the_default(tmp_path: Path) -> None:
    for pre in (None, "", "default"):
        assert read_vocabulary(checkpoint(tmp_path, pre=pre)).pre is by_name()["default"]
    assert read_vocabulary(checkpoint(tmp_path, pre="quux"), pre="qwen2").pre is by_name()["qwen2"]


def test_end_is_no_end_where_harmony_has_calls(tmp_path: Path) -> None:
    tokens = [*ALPHABET, "<|end|>", "<|return|>", "<|call|>", "<|channel|>"]
    attributes = read_vocabulary(checkpoint(tmp_path, tokens=tokens, merges=[])).attributes.tolist()
    # The default eos, token 11, ends a generation too; so does an eot found by its text.
    assert [bool(a & Attribute.END_OF_GENERATION) for a in attributes[256:]] == [False, True, True, False]
    assert attributes[256] == attributes[259] == Attribute.USER_DEFINED


def test_phi_3_swallows_blanks_after_special_tokens(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", "<|user|>", "<|endoftext|>", "a"]
    types = [UNKNOWN, CONTROL, CONTROL, USER_DEFINED, CONTROL, NORMAL]
    named = spm(tmp_path, key("general.name", STRING, "Phi-3 mini"), tokens=tokens, types=types)
    assert read_vocabulary(named).strip_right == {2, 3}
    assert read_vocabulary(spm(tmp_path, tokens=tokens, types=types)).strip_right == frozenset()


def test_an_empty_token_gets_a_name(tmp_path: Path) -> None:
    assert read_vocabulary(checkpoint(tmp_path, tokens=[*ALPHABET, "", "ab"])).texts[256] == "[EMPTY_256]"


def test_no_name_is_in_two_rows_and_every_pattern_compiles(tmp_path: Path) -> None:
    assert len(by_name()) == sum(len(row.names) for row in PRE_TOKENIZERS)
    for row in PRE_TOKENIZERS:
        assert compile_tokenizer(checkpoint(tmp_path, pre=row.names[0]))


# ---- What is refused


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"model": "quux"}, UnsupportedModelError, "tokenizer.ggml.model is quux"),
        ({"model": "rwkv"}, UnsupportedModelError, "RWKV"),
        ({"model": None}, MalformedFileError, "tokenizer.ggml.model"),
        ({"pre": "quux"}, UnsupportedModelError, "tokenizer.ggml.pre is quux"),
        ({"tokens": []}, MalformedFileError, "tokenizer.ggml.tokens"),
        ({"tokens": ["a", "b", "a"]}, MalformedFileError, "tokenizer.ggml.tokens holds a twice, as token 0 and as token 2"),
        ({"tokens": ["a" * 70000]}, MalformedFileError, "token 0"),
        ({"tokens": ["a", b"\xed\xa0\x80"]}, MalformedFileError, "tokenizer.ggml.tokens holds at index 1"),
        ({"token_type": [1] * 257}, MalformedFileError, "tokenizer.ggml.token_type holds 257 types for 258 tokens"),
        ({"token_type": [7] * 258}, MalformedFileError, "tokenizer.ggml.token_type"),
        ({"token_type": [BYTE] * 258}, MalformedFileError, "byte token"),
        ({"merges": None}, MalformedFileError, "tokenizer.ggml.merges"),
        ({"merges": [""]}, MalformedFileError, "tokenizer.ggml.merges holds '' at index 0"),
        ({"merges": ["a b", "a b c"]}, MalformedFileError, "tokenizer.ggml.merges holds 'a b c' at index 1"),
        ({"merges": ["ab"]}, MalformedFileError, "tokenizer.ggml.merges"),
        ({"merges": [" ab"]}, MalformedFileError, "tokenizer.ggml.merges"),
    ],
)
def test_refuses_by_name(tmp_path: Path, given: Any, error: type[LlmcError], says: str) -> None:
    with pytest.raises(error) as caught:
        compile_tokenizer(checkpoint(tmp_path, **given))
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["<0x-1>", "< 0x41>", "<0x4>", "<0x411>", "<0xGG>", "0x41", "<0X41>"])
def test_refuses_a_byte_token_that_spells_no_byte(tmp_path: Path, text: str) -> None:
    with pytest.raises(MalformedFileError, match="token 3"):
        compile_tokenizer(spm(tmp_path, tokens=("<unk>", "<s>", "</s>", text), types=(2, 3, 3, BYTE)))


def test_refuses_ids_outside_the_vocabulary(tmp_path: Path) -> None:
    for role in ("bos", "eos", "eot", "unknown", "seperator", "padding", "fim_pre", "prefix"):
        with pytest.raises(MalformedFileError, match=f"tokenizer.ggml.{role}_token_id is 258"):
            compile_tokenizer(checkpoint(tmp_path, token_id(role, 258)))


def test_refuses_to_add_a_token_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match="tokenizer.ggml.add_bos_token"):
        compile_tokenizer(checkpoint(tmp_path, key("tokenizer.ggml.add_bos_token", BOOL, True), pre="glm4"))


def test_refuses_scores_that_are_missing_or_too_few(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match="tokenizer.ggml.scores"):
        compile_tokenizer(spm(tmp_path, scores=[0.5]))
    with pytest.raises(MalformedFileError, match="tokenizer.ggml.scores"):
        compile_tokenizer(checkpoint(tmp_path, model="llama"))


def test_refuses_a_pre_tokenizer_for_sentencepiece(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="--pre"):
        read_vocabulary(spm(tmp_path), pre="qwen2")


def test_answers_the_hostile_corpus(shared: Path) -> None:
    """Every vocabulary case is refused as it should be or accepted; the reader may have refused it already."""
    for case in map(json.loads, (shared / "corpora/hostile/cases.jsonl").read_text().strip().split("\n")):
        path = shared / "corpora/hostile" / case["name"]
        if case["category"] not in ("tokens", "dup") or not path.is_file():
            continue
        try:
            compile_tokenizer(read_gguf(path, vocabulary_only=True))
        except LlmcError as error:
            assert case["verdict"] != "accept" and error.exit_code in (3, 4)
        else:
            assert case["verdict"] != "refuse", case["name"]


# ---- The blob


def sections(blob: bytes) -> dict[Section, tuple[int, int]]:
    pairs = struct.iter_unpack("<QQ", blob[HEADER.size : HEADER.size + 16 * len(Section)])
    return dict(zip(Section, pairs, strict=True))


def test_lays_the_sections_out_in_order_aligned_and_to_the_end(tmp_path: Path) -> None:
    blob = compile_tokenizer(checkpoint(tmp_path))
    magic, version, kind, size, flags, tokens, *_ = HEADER.unpack_from(blob)
    assert (magic, version, kind, size, tokens) == (b"LLMCTOK\0", VERSION, 1, len(blob), 258)
    assert Flag(flags) == Flag.CLEAN_SPACES
    offsets = [offset for offset, _ in sections(blob).values()]
    assert offsets == sorted(offsets) and all(offset % 16 == 0 for offset in offsets) and offsets[-1] == len(blob)


def test_the_same_file_gives_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    checkpoint(tmp_path, pre="llama-bpe")
    program = (
        "import hashlib, sys; from pathlib import Path; from llmc.frontend.gguf import read_gguf; "
        "from llmc.frontend.tokenizer import compile_tokenizer; "
        "print(hashlib.sha256(compile_tokenizer(read_gguf(Path(sys.argv[1]), vocabulary_only=True))).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "vocabulary.gguf")]
    settings = ({"PYTHONHASHSEED": "1", "LC_ALL": "C"}, {"PYTHONHASHSEED": "77", "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"})
    runs = [subprocess.run(command, env={**os.environ, **env}, capture_output=True, check=True).stdout for env in settings]
    assert runs[0] == runs[1]


def test_the_byte_alphabet_is_a_bijection() -> None:
    assert len(set(ALPHABET)) == 256
    assert all(to_bytes(char) == bytes([byte]) for byte, char in enumerate(ALPHABET))
    assert to_bytes("".join(ALPHABET)) == bytes(range(256))
    assert [to_bytes(text) for text in ("a b", "日", "\xad", "\x7f", "ｱ")] == [None] * 5


# ---- The tables


def fnv(data: bytes) -> int:
    """64-bit FNV-1a, folded as the tables fold it: the obvious way."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return (value ^ value >> 32) * 0x9E3779B97F4A7C15 % 2**64


STRINGS = [b"", b"a", b"ab", b"a", bytes(range(256)), b"\0", b"\0\0", "日本語".encode()]


def test_hashes_strings_as_fnv_does() -> None:
    assert hash_strings(*pool(STRINGS)).tolist() == [fnv(s) for s in STRINGS]
    assert hash_strings(*pool([])).tolist() == []


def test_every_entry_is_in_its_bucket() -> None:
    keys = [str(i).encode() for i in range(1000)]
    starts, entries, data = text_index(keys, range(1000))
    assert starts[0] == 0 and starts[-1] == len(entries) == 1000 and (np.diff(starts.astype(int)) >= 0).all()
    for i, k in enumerate(keys):
        bucket = (fnv(k) >> 32) * (len(starts) - 1) >> 32
        here = entries[starts[bucket] : starts[bucket + 1]]
        assert [bytes(data[offset : offset + size]) for _, number, offset, size in here if number == i] == [k]


def test_equal_merges_keep_their_order() -> None:
    left, right = np.array([5, 5, 5], np.uint32), np.array([6, 6, 6], np.uint32)
    _, entries = merge_index(left, right, np.array([7, 7, 7], np.uint32))
    assert entries[:, 3].tolist() == [0, 1, 2]


def test_empty_tables_have_one_empty_bucket() -> None:
    starts, order = bucketed(np.zeros(0, np.uint64))
    assert starts.tolist() == [0, 0] and len(order) == 0


def test_a_trie_finds_its_texts() -> None:
    texts = [b"<s>", b"<", b"<t", b"\xff\xfe", b"s"]
    nodes, edges = trie(texts)
    for number, text in enumerate(texts):
        node = 0
        for byte in text:
            of_node = {int(e) & 255: int(e) >> 8 for e in edges[nodes[node][0] : nodes[node + 1][0]]}
            node = of_node[byte]
        assert nodes[node][1] == number + 1
    bytes_of_root = [int(e) & 255 for e in edges[nodes[0][0] : nodes[1][0]]]
    assert bytes_of_root == sorted(bytes_of_root) == [0x3C, 0x73, 0xFF]


def test_score_keys_order_scores_from_high_to_low() -> None:
    scores = np.array([1.5, 0.0, -0.0, -1.5, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38], np.float32)
    keys = descending_keys(scores)
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            assert (keys[i] < keys[j]) == (a > b) and (keys[i] == keys[j]) == (a == b)
