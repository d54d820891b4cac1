"""What SentencePiece trains, compiled: from tokenizer.json against the `tokenizers` package, from GGUF against SentencePiece."""

import base64
import io
import json
import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Package

import llmc
from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.sentencepiece_model import _fields, _message
from llmc.frontend.tokenizer import compile_vocabulary
from llmc.frontend.tokenizer_charsmap import read_charsmap
from llmc.frontend.tokenizer_huggingface import read_huggingface_vocabulary
from tests.tokenizer_c import ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL, Tokenizer, compiled

CORPUS = ["The quick brown fox jumps over the lazy dog.", "Hello world, this is a test of pieces: 1234 and ﬁve.", "naïve café"]
CORPUS += ["日本語のテスト。", "über straße", "don't won't can't", "a  b   c", "Ａｂｃ ①②", "हिन्दी"]
TEXTS = [
    "", " ", "   ", "Hello world", "  leading and   trailing  ", "The quick\n\nbrown\tfox", "ﬁve ①② Ａｂｃ ㎏", "日本語テスト",
    "naïve cafe\u0301 e\u0301\u0301", "Ａ\u0301 ①\u0301 ﬁ\u0327x", "\u200b\ufeffa\u00adb\x00c\x7f", "unknown: \U0001f600 Ж жук",
    "▁under▁score", "a\r\nb\rc", "\u0600a ক\u09be\u200d য", "한국어 ㄴﾔ", "x" * 300, "don't, won't; can't!",
    "\u3000wide\u00a0space\u2003",
    "👍🏽👨‍👩‍👧 🇩🇪", "1234567890" * 5,
]  # fmt: skip


@cache
def model(**options: Any) -> sentencepiece.SentencePieceProcessor:
    """A model of a few hundred pieces, trained here."""
    out = io.BytesIO()
    given = {"model_type": "unigram", "vocab_size": 200, "hard_vocab_limit": False, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS * 20), model_writer=out, **given)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def charsmap(processor: sentencepiece.SentencePieceProcessor) -> bytes:
    raw = _message(dict(_fields(processor.serialized_model_proto(), "model"))[3], "normalizer_spec").get(2, b"")
    assert isinstance(raw, bytes)
    return raw


def size(processor: sentencepiece.SentencePieceProcessor) -> int:
    return int(processor.get_piece_size())


# ---- tokenizer.json, against the package


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
PRE_TOKENIZERS: dict[str, Any] = {
    "always": METASPACE, "first": METASPACE | {"prepend_scheme": "first"}, "never": METASPACE | {"prepend_scheme": "never"},
    "whole": METASPACE | {"split": False},
    "words": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}, "none": None,
}  # fmt: skip
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap(model())).decode()}
NORMALIZERS: dict[str, Any] = {
    "charsmap": PRECOMPILED,
    "albert": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}, {"type": "NFKD"}, {"type": "StripAccents"},
        {"type": "Lowercase"}, PRECOMPILED, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]},
    "strip": {"type": "Sequence", "normalizers": [PRECOMPILED, {"type": "Strip", "strip_left": False, "strip_right": True},
                                                  {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]},
}  # fmt: skip
ADDED = [{"id": 0, "content": "<unk>", "special": True}, {"id": 1, "content": "<s>", "special": True}]
ADDED += [{"id": 2, "content": "</s>", "special": True}, {"id": -1, "content": "<tool>", "special": False}]


def tokenizer_json(processor: sentencepiece.SentencePieceProcessor, **changes: Any) -> dict[str, Any]:
    """The same model for the `tokenizers` package."""
    count = size(processor)
    vocab = [[processor.id_to_piece(i), processor.get_score(i)] for i in range(count)]
    added = [{"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, **token} for token in ADDED]
    added[-1]["id"] = count
    special = {name: {"id": name, "ids": [i], "tokens": [name]} for i, name in ((1, "<s>"), (2, "</s>"))}
    sides = [{"SpecialToken": {"id": name, "type_id": 0}} for name in special]
    single = [sides[0], {"Sequence": {"id": "A", "type_id": 0}}, sides[1]]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": PRECOMPILED,
        "pre_tokenizer": METASPACE, "decoder": METASPACE,
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}, **changes,
    }  # fmt: skip


def both(folder: Path, content: dict[str, Any], count: int) -> tuple[Tokenizer, Package]:
    (folder / "tokenizer.json").write_text(json.dumps(content))
    ours = Tokenizer(compile_vocabulary(read_huggingface_vocabulary(folder, count)))
    return ours, Package.from_file(str(folder / "tokenizer.json"))


def same(ours: Tokenizer, theirs: Package, text: str) -> None:
    ids = theirs.encode(text).ids
    assert ours.encode(text, ADD_SPECIAL | PARSE_SPECIAL) == ids, (text, theirs.encode(text).tokens)
    plain = theirs.encode(text, add_special_tokens=False).ids
    assert ours.decode(plain, SHOW_SPECIAL).decode(errors="replace") == theirs.decode(plain, skip_special_tokens=False), text


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_unigram_equals_the_package(tmp_path: Path, pre: str, normalizer: str) -> None:
    decoder = PRE_TOKENIZERS[pre] if pre in ("first", "never") else METASPACE
    content = tokenizer_json(model(), pre_tokenizer=PRE_TOKENIZERS[pre], normalizer=NORMALIZERS[normalizer], decoder=decoder)
    ours, theirs = both(tmp_path, content, size(model()) + 1)
    for text in TEXTS + CORPUS:
        same(ours, theirs, text)
        same(ours, theirs, f"{text}<tool>{text} </s>  {text}")


@cache
def pair() -> tuple[Tokenizer, Package]:
    with TemporaryDirectory() as folder:
        return both(Path(folder), tokenizer_json(model()), size(model()) + 1)


CLUSTERS = st.text(st.sampled_from("aＡé①ﬁ \u0301\u0327\u200d\u0600\r\n\t한ᆫᄀㄴﾔक्य\u0903ﾞ\ufe0f\u00ad"), max_size=12)


@given(st.text(max_size=40) | CLUSTERS)
@settings(max_examples=400, deadline=None)
def test_unigram_equals_the_package_on_any_text(text: str) -> None:
    same(*pair(), text)


def test_unigram_spells_unknown_characters_in_bytes(tmp_path: Path) -> None:
    processor = model(byte_fallback=True, vocab_size=420)
    content = tokenizer_json(processor)
    content["model"]["byte_fallback"] = True
    content["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, METASPACE]}
    ours, theirs = both(tmp_path, content, size(processor) + 1)
    for text in TEXTS + CORPUS:
        assert ours.encode(text, ADD_SPECIAL) == theirs.encode(text).ids, text
    assert ours.decode(ours.encode("Ж жук")).decode() == "Ж жук"


def bpe_json(prefixed: bool = True, **changes: Any) -> dict[str, Any]:
    """BPE over characters, as Llama 2 and Gemma have it."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghilmnorstuw.,é日本"]
    merges = [["▁", "t"], ["h", "e"], ["▁t", "he"], ["▁", "▁"], ["▁▁", "▁"], ["l", "l"], ["▁", "a"], ["日", "本"], ["e", "r"]]
    pieces += ["".join(pair) for pair in merges]
    replace: dict[str, Any] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []
    content = tokenizer_json(model()) | {
        "normalizer": prepend if prefixed else replace, "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": back + strip},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "merges": merges,
                  "ignore_merges": False, "vocab": {piece: i for i, piece in enumerate(pieces)}}, **changes,
    }  # fmt: skip
    content["added_tokens"][-1]["id"] = len(pieces)
    return content


SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
BPE: dict[str, dict[str, Any]] = {
    "llama": bpe_json(), "gemma": bpe_json(False, pre_tokenizer=SPLIT),
    "metaspace": bpe_json(normalizer=None, pre_tokenizer=PRE_TOKENIZERS["first"] | {"split": False}),
    "words": bpe_json(normalizer=None, pre_tokenizer=METASPACE),
}  # fmt: skip


@pytest.mark.parametrize("name", BPE)
def test_bpe_over_characters_equals_the_package(tmp_path: Path, name: str) -> None:
    ours, theirs = both(tmp_path, BPE[name], 400)
    for text in [*TEXTS, *CORPUS, "the weather all the   theatres", "日本日本"]:
        same(ours, theirs, text)
        same(ours, theirs, f"{text}<tool>{text} </s>  {text}")


# ---- GGUF, against SentencePiece


def write_gguf(path: Path, processor: sentencepiece.SentencePieceProcessor, **keys: bool) -> Path:
    writer = gguf.GGUFWriter(path, "t5encoder")
    writer.add_tokenizer_model("t5")
    count = size(processor)
    kind = [2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 1 for i in range(count)]
    writer.add_token_list([processor.id_to_piece(i) for i in range(count)])
    writer.add_token_scores([processor.get_score(i) for i in range(count)])
    writer.add_token_types(kind)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(keys.get("prefix", True))
    writer.add_remove_extra_whitespaces(keys.get("merge", True))
    if charsmap(processor):
        writer.add_precompiled_charsmap(charsmap(processor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc_cf", "identity"])
@pytest.mark.parametrize("merge", [True, False])
def test_gguf_equals_sentencepiece(tmp_path: Path, rule: str, merge: bool) -> None:
    processor = model(normalization_rule_name=rule, remove_extra_whitespaces=merge)
    ours = Tokenizer(compiled(write_gguf(tmp_path / "t5.gguf", processor, merge=merge)))
    for text in TEXTS + CORPUS:
        expected = processor.encode(text) if text.strip() or merge else ours.encode(text)  # SentencePiece prefixes blanks alone
        assert ours.encode(text) == expected, text
        assert ours.encode(text, ADD_SPECIAL) == [*expected, 2]
        assert 0 in expected or "▁" in text or ours.decode(expected).decode() == processor.decode(expected)


@cache
def from_gguf() -> Tokenizer:
    with TemporaryDirectory() as folder:
        return Tokenizer(compiled(write_gguf(Path(folder) / "t5.gguf", model())))


@given(st.text(max_size=40) | CLUSTERS)
@settings(max_examples=300, deadline=None)
def test_gguf_equals_sentencepiece_on_any_text(text: str) -> None:
    assert from_gguf().encode(text) == model().encode(text)


# ---- tokenizer.model, against SentencePiece


@pytest.mark.parametrize("options", [
    {}, {"remove_extra_whitespaces": False}, {"add_dummy_prefix": False}, {"byte_fallback": True, "vocab_size": 420},
    {"model_type": "bpe", "byte_fallback": True, "vocab_size": 380},
    {"model_type": "bpe", "byte_fallback": True, "vocab_size": 380, "normalization_rule_name": "identity"},
    {"user_defined_symbols": "<tool>"},
])  # fmt: skip
def test_tokenizer_model_equals_sentencepiece(tmp_path: Path, options: dict[str, Any]) -> None:
    processor = model(**options)
    (tmp_path / "tokenizer.model").write_bytes(processor.serialized_model_proto())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False}))
    ours = Tokenizer(compile_vocabulary(read_huggingface_vocabulary(tmp_path, size(processor))))
    kept = options.get("remove_extra_whitespaces", True)
    for text in [text for text in TEXTS + CORPUS if text.strip() or kept]:  # SentencePiece puts a prefix before blanks alone
        assert ours.encode(text) == processor.encode(text), text


# ---- What is refused


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"normalizer": {"type": "Nmt"}}, UnsupportedModelError, "Nmt"),
    ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"}}, MalformedFileError, "base64"),
    ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAAAAAAAAA="}}, MalformedFileError, "trie"),
    ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}}, UnsupportedModelError, "Replace"),
    ({"pre_tokenizer": {"type": "Punctuation"}}, UnsupportedModelError, "Punctuation"),
    ({"pre_tokenizer": METASPACE | {"replacement": "_"}}, UnsupportedModelError, "U\\+2581"),
    ({"pre_tokenizer": METASPACE | {"prepend_scheme": 1}}, MalformedFileError, "prepend_scheme"),
    ({"decoder": {"type": "WordPiece"}}, UnsupportedModelError, "decoder"),
    ({"model": {"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]}}, MalformedFileError, "unk_id"),
    ({"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}}, MalformedFileError, "unk_id"),
    ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", "x"]]}}, MalformedFileError, "score"),
    ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", math.inf]]}}, MalformedFileError, "score"),
    ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a"]]}}, MalformedFileError, "text and score"),
    ({"model": {"type": "Unigram", "unk_id": 0, "vocab": []}}, MalformedFileError, "0 tokens"),
    ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]], "byte_fallback": True}}, UnsupportedModelError, "byte"),
    ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, UnsupportedModelError, "byte_fallback"),
])  # fmt: skip
def test_refuses_what_it_cannot_compile(tmp_path: Path, change: dict[str, Any], error: type[LlmcError], words: str) -> None:
    content = tokenizer_json(model(), added_tokens=[], post_processor=None) | change
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(error, match=words):
        read_huggingface_vocabulary(tmp_path, 1000)


def test_no_damaged_charsmap_is_read_past_its_end(tmp_path: Path) -> None:
    """A damaged map is refused or gives other tokens."""
    raw, rng = charsmap(model()), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), 40):
            damaged[at] = rng.integers(256)
        try:
            read_charsmap(bytes(damaged), "map")
        except MalformedFileError:
            continue
        normalizer = PRECOMPILED | {"precompiled_charsmap": base64.b64encode(damaged).decode()}
        (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(model(), normalizer=normalizer)))
        ours = Tokenizer(compile_vocabulary(read_huggingface_vocabulary(tmp_path, 1000)))
        for text in TEXTS:
            ours.encode(text)


def test_a_directory_needs_no_more_than_its_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(model())))
    expected = Package.from_file(str(tmp_path / "tokenizer.json")).encode("Hello world").ids
    assert llmc.load_tokenizer(tmp_path).tokenize("Hello world") == expected
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(llmc.UsageError, match="no tokenizer"):
        llmc.load_tokenizer(tmp_path)
