r"""tokenizer.json of the `tokenizers` package: byte-level BPE. What comes out tokenizes as that package does, where a text is in
NFC (normalisation to it, which Qwen's files ask for, is not applied) and tokens that strip have no other blanks beside them than
ASCII's.

A regex is compiled if its text is one of REGEXES: a foreign regex could take any time to compile, and mean something else in the
package's regex engine. `--pre` names a row of pretokenize.py instead.

Reference: https://github.com/huggingface/tokenizers, tokenizers/src/{models/bpe,pre_tokenizers,added_vocabulary.rs}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.json_file import json_kind
from llmc.frontend.pretokenize import PreTokenizer, by_name
from llmc.frontend.tokenizer import ALPHABET
from llmc.frontend.tokenizer_vocabulary import MAX_TOKEN_BYTES, MAX_TOKENS

T = TypeVar("T")

NAME: Final = "tokenizer.json"
MAX_ADDED: Final = 512  # characters of an added token
CASELESS: Final = r"'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])"  # as Unicode folds case: ſ is a small s
WORD: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
TAIL: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WRITTEN: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DEEPSEEK: Final = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The regex as the file writes it -> the same in the subset of tokenizer_regex.py.
REGEXES: Final[Mapping[str, str]] = {
    rf"{WRITTEN}|{WORD}|{digits}|{TAIL}": rf"{CASELESS}|{WORD}|{digits}|{TAIL}" for digits in (r"\p{N}{1,3}", r"\p{N}")
} | {text: text for text in (GPT2, DEEPSEEK, r"\p{N}{1,3}", r"\p{N}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+")}


@dataclass(frozen=True)
class AddedToken:
    """A token found in a text before it is tokenized. strip_left, strip_right: it swallows the blanks beside it."""

    id: int
    text: str
    special: bool
    strip_left: bool
    strip_right: bool


@dataclass(frozen=True)
class TokenizerJson:
    """Byte-level BPE. texts by id; before, after: the tokens that the post-processor adds around a text."""

    texts: Mapping[int, str]
    merges: Sequence[tuple[str, str]]
    added: Sequence[AddedToken]
    pre: PreTokenizer
    before: Sequence[int] = field(default_factory=tuple)
    after: Sequence[int] = field(default_factory=tuple)


def is_byte_level(content: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json describes byte-level BPE."""
    model, decoder = content.get("model"), content.get("decoder")
    byte_level = isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"
    return isinstance(model, dict) and model.get("type") == "BPE" and byte_level


def understand(content: Mapping[str, Any], pre: str | None) -> TokenizerJson:
    """What a byte-level tokenizer.json says; `pre` names a pre-tokenizer to use instead of the file's.

    Raises MalformedFileError for a file that contradicts itself and UnsupportedModelError for what llmc does not compile.
    """
    model = _object(content, "model")
    _check_model(model)
    texts = _texts(model)
    added = _added(content)
    texts |= {token.id: token.text for token in added}
    _refuse_duplicates(texts)
    _refuse_overlaps([token.text for token in added])
    merges = _merges(model, set(texts.values()))
    _check_normalizer(content.get("normalizer"))
    ignore_merges = _flag(model, "ignore_merges")
    patterns = _named(pre).patterns if pre is not None else _patterns(content.get("pre_tokenizer"))
    row = PreTokenizer((), patterns, ignore_merges)
    before, after = _around(content.get("post_processor"))
    for i in (*before, *after):
        if i not in texts:
            raise MalformedFileError(f"{NAME}: post_processor adds token {i}, which does not exist")
    return TokenizerJson(texts, merges, added, row, before, after)


# ---- The model


def _check_model(model: Mapping[str, Any]) -> None:
    kind = model.get("type", "BPE")
    if kind != "BPE":
        raise UnsupportedModelError(f"{NAME}: model.type is {quoted(str(kind))}; llmc compiles byte-level BPE")
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedModelError(f"{NAME}: model.{key} is {quoted(str(model[key]))}, which byte-level BPE does not use")
    if _flag(model, "byte_fallback"):
        raise UnsupportedModelError(
            f"{NAME}: model.byte_fallback is set: a SentencePiece model", hint="llmc reads those from tokenizer.model"
        )


def _texts(model: Mapping[str, Any]) -> dict[int, str]:
    """Token texts by id."""
    vocab = _object(model, "vocab")
    if not 0 < len(vocab) <= MAX_TOKENS:
        raise MalformedFileError(f"{NAME}: model.vocab has {len(vocab)} tokens, expected 1 to {MAX_TOKENS}")
    texts: dict[int, str] = {}
    for text, number in vocab.items():
        if not _is_id(number) or number in texts:
            why = "twice" if _is_id(number) else "which is no id"
            raise MalformedFileError(f"{NAME}: model.vocab gives {quoted(text)} the id {number!r:.30}, {why}")
        _check_text(text)
        texts[number] = text
    missing = [char for char in ALPHABET if char not in vocab]
    if missing:
        raise UnsupportedModelError(f"{NAME}: model.vocab has no token for {len(missing)} of 256 bytes")
    return texts


def _merges(model: Mapping[str, Any], known: set[str]) -> list[tuple[str, str]]:
    """Pairs of texts, best first; written as "a b" or ["a", "b"]."""
    merges = _of(model, "merges", list, "an array")
    pairs: list[tuple[str, str]] = []
    for i, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
            raise MalformedFileError(f"{NAME}: model.merges holds at index {i} no two parts: {quoted(str(merge))}")
        if not {*parts, "".join(parts)} <= known:
            raise MalformedFileError(f"{NAME}: model.merges holds at index {i} a text that is no token: {quoted(str(merge))}")
        pairs.append((parts[0], parts[1]))
    if len(set(pairs)) != len(pairs):
        raise MalformedFileError(f"{NAME}: model.merges holds a pair twice")
    return pairs


def _added(content: Mapping[str, Any]) -> list[AddedToken]:
    tokens = content.get("added_tokens") or []
    if not isinstance(tokens, list):
        raise MalformedFileError(f"{NAME}: added_tokens is {json_kind(tokens)}, expected an array")
    return [added_token(token, token.get("id") if isinstance(token, dict) else None, NAME) for token in tokens]


def added_token(token: Any, number: Any, file: str) -> AddedToken:
    """One entry of added_tokens, or of tokenizer_config.json's added_tokens_decoder."""
    if not isinstance(token, dict) or not isinstance(token.get("content"), str) or not token["content"] or not _is_id(number):
        raise MalformedFileError(f"{file}: added token {number!r:.30} is no object with an id and a content")
    text: str = token["content"]
    _check_text(text)
    if len(text) > MAX_ADDED:
        raise MalformedFileError(f"{file}: added token {number} has more than {MAX_ADDED} characters")
    if _flag(token, "single_word"):
        raise UnsupportedModelError(f"{file}: added token {quoted(text)} is a single_word, which llmc cannot compile")
    return AddedToken(number, text, _flag(token, "special"), _flag(token, "lstrip"), _flag(token, "rstrip"))


def _refuse_duplicates(texts: Mapping[int, str]) -> None:
    if len(set(texts.values())) == len(texts):
        return
    first: dict[str, int] = {}
    for number, text in texts.items():
        if text in first:
            raise MalformedFileError(f"{NAME}: {quoted(text)} is token {first[text]} and token {number}")
        first[text] = number


def _refuse_overlaps(texts: Sequence[str]) -> None:
    """The package takes added tokens from left to right, the runtime the longest first. They find the same ones unless a text
    ends as one that is no shorter begins; runs of one character may.
    """
    longest: dict[str, str] = {}
    for text in sorted(texts, key=len):
        longest |= dict.fromkeys((text[:i] for i in range(1, len(text))), text)
    for text in texts:
        for i in range(1, len(text)):
            other = longest.get(text[i:], "")
            if len(other) >= len(text) and other != text and len({*text, *other}) > 1:
                raise UnsupportedModelError(f"{NAME}: added tokens {quoted(text)} and {quoted(other)} can overlap in a text")


# ---- What happens before and after the model


def _check_normalizer(normalizer: Any) -> None:
    parts = _sequence(normalizer, "normalizers", "normalizer")
    for part in parts:
        if part["type"] != "NFC":
            raise UnsupportedModelError(f"{NAME}: normalizer {quoted(part['type'])}, which llmc cannot compile")


def _patterns(pre_tokenizer: Any) -> tuple[str, ...]:
    """The regexes that cut a text, each applied to the pieces of the one before; the last step must be ByteLevel."""
    parts = _sequence(pre_tokenizer, "pretokenizers", "pre_tokenizer")
    if not parts or parts[-1]["type"] != "ByteLevel":
        raise _unknown_pre(f"pre_tokenizer does not end in ByteLevel, but in {quoted(parts[-1]['type']) if parts else 'nothing'}")
    patterns = [pattern for part in parts for pattern in _cuts(part)]
    if not patterns:
        raise _unknown_pre("pre_tokenizer does not cut texts")
    return tuple(patterns)


def _cuts(part: Mapping[str, Any]) -> list[str]:
    """The patterns of one step."""
    kind = part["type"]
    if kind == "ByteLevel":
        if _flag(part, "add_prefix_space", default=True):
            raise _unknown_pre("pre_tokenizer puts a space before a text (ByteLevel, add_prefix_space)")
        return [GPT2] if _flag(part, "use_regex", default=True) else []
    if kind == "Digits":
        return [r"\p{N}" if _flag(part, "individual_digits") else r"\p{N}+"]
    if kind != "Split":
        raise _unknown_pre(f"pre_tokenizer {quoted(kind)}")
    pattern = part.get("pattern")
    regex: Any = pattern.get("Regex") if isinstance(pattern, dict) else None
    if not isinstance(regex, str) or regex not in REGEXES:
        raise _unknown_pre(f"pre_tokenizer Split by {quoted(str(pattern), 200)}")
    behavior, invert = part.get("behavior"), _flag(part, "invert")
    covers = behavior == "Removed" and invert and regex.startswith((WRITTEN, GPT2))  # there is nothing between matches
    if behavior != "Isolated" and not covers:
        raise _unknown_pre(f"pre_tokenizer Split with behavior {quoted(str(behavior))}")
    return [REGEXES[regex]]


def _around(post_processor: Any) -> tuple[list[int], list[int]]:
    """Ids that are added before and after a text."""
    parts = [part for part in _sequence(post_processor, "processors", "post_processor") if part["type"] != "ByteLevel"]
    if not parts:
        return [], []
    if len(parts) > 1 or parts[0]["type"] != "TemplateProcessing":
        raise UnsupportedModelError(f"{NAME}: post_processor {quoted(parts[0]['type'])}, which llmc cannot compile")
    items, tokens = _of(parts[0], "single", list, "an array"), _object(parts[0], "special_tokens")
    sides: tuple[list[int], list[int]] = ([], [])
    texts = 0
    for item in items:
        if isinstance(item, dict) and "Sequence" in item:
            texts += 1
        else:
            sides[min(texts, 1)].extend(_special_ids(item, tokens))
    if texts != 1:
        raise MalformedFileError(f"{NAME}: post_processor.single holds the text {texts} times")
    return sides


def _special_ids(item: Any, tokens: Mapping[str, Any]) -> list[int]:
    special = item.get("SpecialToken") if isinstance(item, dict) else None
    name = special.get("id") if isinstance(special, dict) else None
    token = tokens.get(name) if isinstance(name, str) else None
    ids = token.get("ids") if isinstance(token, dict) else None
    if not isinstance(ids, list) or not all(_is_id(i) for i in ids):
        raise MalformedFileError(f"{NAME}: post_processor.single holds {quoted(str(item))}, which is no special token")
    return ids


def _named(pre: str) -> PreTokenizer:
    if pre not in by_name():
        raise _unknown_pre(f"--pre {quoted(pre)}")
    return by_name()[pre]


def _unknown_pre(what: str) -> UnsupportedModelError:
    hint = "choose one with --pre; the names are " + ", ".join(sorted(filter(None, by_name())))
    return UnsupportedModelError(f"{NAME}: {what}, which llmc does not know", hint=hint)


# ---- Typed access


def _sequence(part: Any, key: str, what: str) -> list[dict[str, Any]]:
    """The steps of one thing, or of a Sequence of them; none where it is null."""
    if part is None:
        return []
    steps = part.get(key) if isinstance(part, dict) and part.get("type") == "Sequence" else [part]
    if not isinstance(steps, list) or not all(isinstance(step, dict) and isinstance(step.get("type"), str) for step in steps):
        raise MalformedFileError(f"{NAME}: {what} is no object with a type, nor a sequence of them")
    return steps


def _object(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return _of(content, key, dict, "an object")


def _of(content: Mapping[str, Any], key: str, kind: type[T], expected: str) -> T:
    value = content.get(key)
    if not isinstance(value, kind):
        raise MalformedFileError(f"{NAME}: {key} is {json_kind(value)}, expected {expected}")
    return value


def _flag(content: Mapping[str, Any], key: str, default: bool = False) -> bool:
    value = content.get(key, default)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise MalformedFileError(f"{NAME}: {key} is {json_kind(value)}, expected a boolean")
    return value


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS


def _check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise MalformedFileError(f"{NAME}: the token {quoted(text)} holds half of a surrogate pair") from None
    if size > MAX_TOKEN_BYTES:
        raise MalformedFileError(f"{NAME}: a token of more than {MAX_TOKEN_BYTES} bytes")
