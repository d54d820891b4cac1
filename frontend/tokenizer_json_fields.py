"""What tokenizer.json files of all kinds have: typed access, added tokens, the tokens around a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.json_file import json_kind
from llmc.frontend.tokenizer_normalizer import Compose, Decompose, Step
from llmc.frontend.tokenizer_vocabulary import MAX_TOKEN_BYTES, MAX_TOKENS

T = TypeVar("T")

NAME: Final = "tokenizer.json"
MAX_ADDED: Final = 512  # characters of an added token


NORMAL_FORMS: Final[Mapping[str, tuple[Step, ...]]] = {
    "NFC": (Decompose(), Compose()), "NFD": (Decompose(),),
    "NFKC": (Decompose(compatible=True), Compose()), "NFKD": (Decompose(compatible=True),),
}  # fmt: skip
Merges = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class AddedToken:
    """A token found in a text before it is tokenized. strip_left, strip_right: it swallows the blanks beside it."""

    id: int
    text: str
    special: bool
    strip_left: bool
    strip_right: bool


def vocabulary(model: Mapping[str, Any]) -> dict[int, str]:
    """Token texts by id, of model.vocab."""
    vocab = member(model, "vocab")
    if not 0 < len(vocab) <= MAX_TOKENS:
        raise MalformedFileError(f"{NAME}: model.vocab has {len(vocab)} tokens, expected 1 to {MAX_TOKENS}")
    texts: dict[int, str] = {}
    for text, number in vocab.items():
        if not is_id(number) or number in texts:
            why = "twice" if is_id(number) else "which is no id"
            raise MalformedFileError(f"{NAME}: model.vocab gives {quoted(text)} the id {number!r:.30}, {why}")
        check_text(text)
        texts[number] = text
    return texts


def merges_of(model: Mapping[str, Any], known: set[str]) -> list[tuple[str, str]]:
    """Pairs of texts, best first; written as "a b" or ["a", "b"]."""
    merges = of(model, "merges", list, "an array")
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


def model_type(content: Mapping[str, Any]) -> str | None:
    """ "BPE", "WordPiece", "Unigram" ...; None where the file does not say."""
    model = content.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    return kind if isinstance(kind, str) else None


def sequence(part: Any, key: str, what: str) -> list[dict[str, Any]]:
    """The steps of one thing, or of a Sequence of them; none where it is null."""
    if part is None:
        return []
    steps = part.get(key) if isinstance(part, dict) and part.get("type") == "Sequence" else [part]
    if not isinstance(steps, list) or not all(isinstance(step, dict) and isinstance(step.get("type"), str) for step in steps):
        raise MalformedFileError(f"{NAME}: {what} is no object with a type, nor a sequence of them")
    return steps


def member(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    return of(content, key, dict, "an object")


def of(content: Mapping[str, Any], key: str, kind: type[T], expected: str) -> T:
    value = content.get(key)
    if not isinstance(value, kind):
        raise MalformedFileError(f"{NAME}: {key} is {json_kind(value)}, expected {expected}")
    return value


def flag(content: Mapping[str, Any], key: str, default: bool = False) -> bool:
    value = content.get(key, default)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise MalformedFileError(f"{NAME}: {key} is {json_kind(value)}, expected a boolean")
    return value


def is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_TOKENS


def check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise MalformedFileError(f"{NAME}: the token {quoted(text)} holds half of a surrogate pair") from None
    if size > MAX_TOKEN_BYTES:
        raise MalformedFileError(f"{NAME}: a token of more than {MAX_TOKEN_BYTES} bytes")


def added_tokens(content: Mapping[str, Any]) -> list[AddedToken]:
    tokens = content.get("added_tokens") or []
    if not isinstance(tokens, list):
        raise MalformedFileError(f"{NAME}: added_tokens is {json_kind(tokens)}, expected an array")
    return [added_token(token, token.get("id") if isinstance(token, dict) else None, NAME) for token in tokens]


def added_token(token: Any, number: Any, file: str) -> AddedToken:
    """One entry of added_tokens, or of tokenizer_config.json's added_tokens_decoder."""
    if not isinstance(token, dict) or not isinstance(token.get("content"), str) or not token["content"] or not is_id(number):
        raise MalformedFileError(f"{file}: added token {number!r:.30} is no object with an id and a content")
    text: str = token["content"]
    check_text(text)
    if len(text) > MAX_ADDED:
        raise MalformedFileError(f"{file}: added token {number} has more than {MAX_ADDED} characters")
    if flag(token, "single_word"):
        raise UnsupportedModelError(f"{file}: added token {quoted(text)} is a single_word, which llmc cannot compile")
    return AddedToken(number, text, flag(token, "special"), flag(token, "lstrip"), flag(token, "rstrip"))


def refuse_duplicates(texts: Mapping[int, str]) -> None:
    if len(set(texts.values())) == len(texts):
        return
    first: dict[str, int] = {}
    for number, text in texts.items():
        if text in first:
            raise MalformedFileError(f"{NAME}: {quoted(text)} is token {first[text]} and token {number}")
        first[text] = number


def refuse_overlaps(texts: Sequence[str]) -> None:
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


def around(post_processor: Any, known: Set[int]) -> tuple[list[int], list[int]]:
    """Ids that are added before and after a text, of those that are `known`."""
    before, after = _around(post_processor)
    for i in (*before, *after):
        if i not in known:
            raise MalformedFileError(f"{NAME}: post_processor adds token {i}, which does not exist")
    return before, after


def _around(post_processor: Any) -> tuple[list[int], list[int]]:
    parts = [part for part in sequence(post_processor, "processors", "post_processor") if part["type"] != "ByteLevel"]
    if not parts:
        return [], []
    if len(parts) == 1 and parts[0]["type"] in ("BertProcessing", "RobertaProcessing"):
        return [named_id(parts[0], "cls")], [named_id(parts[0], "sep")]
    if len(parts) > 1 or parts[0]["type"] != "TemplateProcessing":
        raise UnsupportedModelError(f"{NAME}: post_processor {quoted(parts[0]['type'])}, which llmc cannot compile")
    items, tokens = of(parts[0], "single", list, "an array"), member(parts[0], "special_tokens")
    sides: tuple[list[int], list[int]] = ([], [])
    texts = 0
    for item in items:
        if isinstance(item, dict) and "Sequence" in item:
            texts += 1
        else:
            sides[min(texts, 1)].extend(special_ids(item, tokens))
    if texts != 1:
        raise MalformedFileError(f"{NAME}: post_processor.single holds the text {texts} times")
    return sides


def special_ids(item: Any, tokens: Mapping[str, Any]) -> list[int]:
    """The ids of an item of a template that is no text."""
    special = item.get("SpecialToken") if isinstance(item, dict) else None
    name = special.get("id") if isinstance(special, dict) else None
    token = tokens.get(name) if isinstance(name, str) else None
    ids = token.get("ids") if isinstance(token, dict) else None
    if not isinstance(ids, list) or not all(is_id(i) for i in ids):
        raise MalformedFileError(f"{NAME}: post_processor holds {quoted(str(item))}, which is no special token")
    return ids


def named_id(part: Mapping[str, Any], key: str) -> int:
    """The id of a pair [text, id]."""
    pair = part.get(key)
    if not isinstance(pair, list) or len(pair) != 2 or not is_id(pair[1]):
        raise MalformedFileError(f"{NAME}: post_processor.{key} is {quoted(str(pair))}, expected a text and its id")
    number: int = pair[1]
    return number
