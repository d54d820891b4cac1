"""tokenizer.json of WordPiece vocabularies, and vocab.txt, which has one token a line, as BERT's first release had it.

Reference: https://github.com/huggingface/tokenizers, tokenizers/src/{models/wordpiece,normalizers/bert.rs,decoders/wordpiece.rs}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.tokenizer_json_fields import (
    NAME,
    AddedToken,
    added_tokens,
    around,
    check_text,
    flag,
    is_id,
    member,
    of,
    refuse_duplicates,
    refuse_overlaps,
    sequence,
    vocabulary,
)  # fmt: skip
from llmc.frontend.tokenizer_wordpiece import WordPiece, of_tokenizers

VOCABULARY: Final = "vocab.txt"
MAX_VOCABULARY: Final = 1 << 28
PREFIX: Final = "##"
LONGEST_WORD: Final = 100
CLEANED: Final = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"),
    (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


@dataclass(frozen=True)
class WordPieceFile:
    """texts and added tokens by id; before, after: what is put around a text; unknown: the id of what no piece fits."""

    texts: Mapping[int, str]
    added: Sequence[AddedToken]
    wordpiece: WordPiece
    unknown: int
    before: Sequence[int]
    after: Sequence[int]


def understand_wordpiece(content: Mapping[str, Any]) -> WordPieceFile:
    """What a tokenizer.json says whose model is WordPiece. Raises as tokenizer_json.understand does."""
    model = member(content, "model")
    texts = vocabulary(model)
    added = added_tokens(content)
    prefix = of(model, "continuing_subword_prefix", str, "a string") if "continuing_subword_prefix" in model else PREFIX
    longest = model.get("max_input_chars_per_word", LONGEST_WORD)
    if not is_id(longest):
        raise MalformedFileError(f"{NAME}: model.max_input_chars_per_word is {longest!r:.30}, expected a number")
    _check_words(content.get("pre_tokenizer"))
    piece = of_tokenizers(texts, prefix, longest, **_normalizer(content.get("normalizer")))
    decoder = content.get("decoder")
    cleanup = isinstance(decoder, dict) and flag(decoder, "cleanup", default=True)
    pieces = shown(texts, added, prefix, cleanup)
    before, after = around(content.get("post_processor"), set(texts) | {token.id for token in added})
    unknown = _unknown(texts, of(model, "unk_token", str, "a string"))
    return _checked(WordPieceFile(texts, added, replace(piece, pieces=pieces), unknown, before, after))


def read_vocab_txt(path: Path, config: Mapping[str, Any]) -> WordPieceFile:
    """vocab.txt with what tokenizer_config.json says beside it, as transformers reads them."""
    if path.stat().st_size > MAX_VOCABULARY:
        raise MalformedFileError(f"{path.name}: larger than {MAX_VOCABULARY} bytes")
    try:
        lines = path.read_bytes().decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise MalformedFileError(f"{path.name}: not UTF-8") from None
    texts = {i: line.removesuffix("\r") for i, line in enumerate(lines)}
    for text in texts.values():
        check_text(text)
    lowercase = flag(config, "do_lower_case", default=True)
    piece = of_tokenizers(
        texts, PREFIX, LONGEST_WORD, cleaned=True, ideographs=flag(config, "tokenize_chinese_chars", default=True),
        accents=not flag(config, "strip_accents", default=lowercase), lowercase=lowercase,
    )  # fmt: skip
    roles = ("unk", "cls", "sep", "pad", "mask")
    ids = {name: _unknown(texts, _name(config, f"{name}_token", f"[{name.upper()}]")) for name in roles}
    added = [AddedToken(i, texts[i], True, False, False) for i in ids.values()]
    pieces = shown(texts, added, PREFIX, cleanup=True)
    return _checked(WordPieceFile(texts, added, replace(piece, pieces=pieces), ids["unk"], [ids["cls"]], [ids["sep"]]))


def _name(config: Mapping[str, Any], key: str, default: str) -> str:
    given = config.get(key, default)
    text = given.get("content") if isinstance(given, dict) else given
    return text if isinstance(text, str) else default


def shown(texts: Mapping[int, str], added: Sequence[AddedToken], prefix: str, cleanup: bool) -> dict[int, bytes]:
    """What each token prints: a space before what begins a word, which the first token of a text then loses."""
    found = {i: text[len(prefix) :] if text.startswith(prefix) else f" {text}" for i, text in texts.items()}
    found |= {token.id: f" {token.text}" for token in added}
    for old, new in CLEANED if cleanup else ():
        found = {i: text.replace(old, new) for i, text in found.items()}
    return {i: text.encode() for i, text in found.items()}


def _checked(file: WordPieceFile) -> WordPieceFile:
    texts = {**file.texts, **{token.id: token.text for token in file.added}}
    refuse_duplicates(texts)
    refuse_overlaps([token.text for token in file.added])
    return file


def _unknown(texts: Mapping[int, str], text: str) -> int:
    found = next((i for i, known in texts.items() if known == text), None)
    if found is None:
        raise MalformedFileError(f"the WordPiece vocabulary has no token {quoted(text)}")
    return found


def _normalizer(normalizer: Any) -> dict[str, bool]:
    """What of_tokenizers is to do."""
    parts = sequence(normalizer, "normalizers", "normalizer")
    if [part["type"] for part in parts] != ["BertNormalizer"]:
        kinds = " ".join(part["type"] for part in parts) or "none"
        raise UnsupportedModelError(f"{NAME}: normalizer {quoted(kinds)} of a WordPiece model; llmc compiles BertNormalizer")
    part = parts[0]
    lowercase = flag(part, "lowercase", default=True)
    return {
        "cleaned": flag(part, "clean_text", default=True),
        "ideographs": flag(part, "handle_chinese_chars", default=True),
        "accents": not flag(part, "strip_accents", default=lowercase),
        "lowercase": lowercase,
    }


def _check_words(pre_tokenizer: Any) -> None:
    kinds = [part["type"] for part in sequence(pre_tokenizer, "pretokenizers", "pre_tokenizer")]
    if kinds != ["BertPreTokenizer"]:
        what = quoted(" ".join(kinds) or "none")
        raise UnsupportedModelError(f"{NAME}: pre_tokenizer {what} of a WordPiece model; llmc compiles BertPreTokenizer")
