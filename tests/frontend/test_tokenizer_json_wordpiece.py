"""WordPiece of tokenizer.json and vocab.txt against the tokenizers package."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.tokenizer import compile_vocabulary
from llmc.frontend.tokenizer_huggingface import read_huggingface_vocabulary
from llmc.frontend.tokenizer_json_wordpiece import understand_wordpiece
from tests.tokenizer_c import ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL, Tokenizer

tokenizers = pytest.importorskip("tokenizers")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdeio.,!?'#-ıéßσаб一한ａ"
PIECES = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), "ab", "##cd", "abc", "n't", "##ed", "do", "not"]
OTHERS = " ABCÉİΣς二각ﬁ①\u0301\u0300\u20dd\u0327\t\n\r\x0b\x00\x85\u200b\ufffd\u3000\xa0𝒳🙂[]CLS"
TEXT = st.text(st.sampled_from(LETTERS + OTHERS), max_size=40)


def content(**normalizer: Any) -> dict[str, Any]:
    options = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True} | normalizer
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": i, "content": text, "special": True, **flags} for i, text in enumerate(SPECIAL)]
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 8}
    return {
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", **options},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {**model, "vocab": {text: i for i, text in enumerate(PIECES)}},
    }


def pair(folder: Path, given: dict[str, Any]) -> tuple[Tokenizer, Any]:
    """Ours and the package's."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text(json.dumps(given))
    (folder / "tokenizer_config.json").write_text("{}")
    vocabulary = read_huggingface_vocabulary(folder, len(PIECES))
    return Tokenizer(compile_vocabulary(vocabulary)), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module", params=[{}, {"lowercase": False}, {"strip_accents": False}, {"handle_chinese_chars": False},
                                        {"clean_text": False}, {"strip_accents": True, "lowercase": False}], ids=str)  # fmt: skip
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    return pair(tmp_path_factory.mktemp("wordpiece") / "model", content(**request.param))


@settings(max_examples=400, deadline=None)
@given(text=TEXT)
def test_equals_the_package_in_ids_and_in_text(both: tuple[Tokenizer, Any], text: str) -> None:
    ours, package = both
    for special in (True, False):
        ids = package.encode(text, add_special_tokens=special).ids
        assert ours.encode(text, PARSE_SPECIAL | ADD_SPECIAL * special) == ids
        assert ours.decode(ids, SHOW_SPECIAL).decode() == package.decode(ids, skip_special_tokens=False)


def test_equals_the_package_on_the_corpus(shared: Path) -> None:
    folder = shared / "models" / "open" / "bert" / "hf"
    ours = Tokenizer(compile_vocabulary(read_huggingface_vocabulary(folder, 512)))
    package = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    for line in (shared / "corpora/tokenizer/bert-bge.golden.jsonl").read_text(encoding="utf-8").strip().split("\n"):
        text = json.loads(line)["text"]
        assert text is None or ours.encode(text, PARSE_SPECIAL) == package.encode(text, add_special_tokens=False).ids


def test_vocab_txt_alone_is_the_same_tokenizer(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "open" / "bert" / "hf"
    for name in ("config.json", "tokenizer_config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    blobs = [compile_vocabulary(read_huggingface_vocabulary(at, 512)) for at in (folder, tmp_path)]
    assert blobs[0] == blobs[1]


@pytest.mark.parametrize(("change", "error", "says"), [
    ({"normalizer": {"type": "NFC"}}, UnsupportedModelError, "BertNormalizer"),
    ({"normalizer": None}, UnsupportedModelError, "none"),
    ({"pre_tokenizer": {"type": "Whitespace"}}, UnsupportedModelError, "BertPreTokenizer"),
    ({"model": {"type": "WordPiece", "unk_token": "?", "vocab": {"a": 0}}}, MalformedFileError, "no token ?"),
    ({"model": {"type": "WordPiece", "unk_token": "a", "vocab": {"a": -1}}}, MalformedFileError, "-1"),
    ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, MalformedFileError, "unk_token"),
    ({"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 9999], "cls": ["[CLS]", 2]}}, MalformedFileError, "9999"),
    ({"post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2]}}, MalformedFileError, "sep"),
])  # fmt: skip
def test_refuses_by_name(change: dict[str, Any], error: type[LlmcError], says: str) -> None:
    with pytest.raises(error) as caught:
        understand_wordpiece({**content(), **change})
    assert says in str(caught.value)
