"""tokenizer.json of what SentencePiece trained: Unigram, and BPE whose words begin as characters. Spaces are spelt U+2581, what
has no token is spelt in byte tokens or unknown. What comes out tokenizes as the `tokenizers` package does.

Reference: https://github.com/huggingface/tokenizers, tokenizers/src/{models/unigram,pre_tokenizers/metaspace.rs,normalizers}.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.tokenizer_charsmap import read_charsmap
from llmc.frontend.tokenizer_json_fields import (
    NAME,
    NORMAL_FORMS,
    AddedToken,
    Merges,
    added_tokens,
    around,
    check_text,
    flag,
    is_id,
    member,
    merges_of,
    of,
    refuse_duplicates,
    refuse_overlaps,
    sequence,
    vocabulary,
)
from llmc.frontend.tokenizer_normalizer import Literal, Prepend, Replace, Rewrite, Squeeze, Step, Strip, lower
from llmc.frontend.tokenizer_unigram import PENALTY, SPACE, Unigram
from llmc.frontend.tokenizer_vocabulary import MAX_TOKENS
from llmc.frontend.unicode_data import WHITE_SPACE, category
from llmc.frontend.unicode_mappings import members

WORDS: Final = (f"{SPACE}[^{SPACE}]*|[^{SPACE}]+",)
WHOLE: Final = (r"[\s\S]+",)
BLANKS: Final = {c: " " for low, high in WHITE_SPACE for c in range(low, high + 1) if c != ord(" ")}
SCHEMES: Final = ("always", "first", "never")


@dataclass(frozen=True)
class PiecesFile:
    """texts by id; before, after: what is put around a text; steps, patterns: how a text is prepared and cut; space_prefix: the
    space before a text is no part of it; unigram: scores by id, or merges: best first; unknown: the id of what has no token.
    """

    texts: Mapping[int, str]
    added: Sequence[AddedToken]
    before: Sequence[int]
    after: Sequence[int]
    steps: tuple[Step, ...]
    patterns: tuple[str, ...]
    space_prefix: bool
    byte_fallback: bool
    unknown: int | None
    scores: Mapping[int, float] | None = None
    merges: Merges = ()
    ignore_merges: bool = False

    def unigram(self, size: int) -> Unigram:
        """Scores of `size` tokens, of a Unigram model."""
        assert self.scores is not None and self.unknown is not None
        scores = np.full(size, np.nan)
        specials = {token.id for token in self.added if token.special}
        for i, score in self.scores.items():
            scores[i] = np.nan if i in specials else score
        scores[self.unknown] = min(self.scores.values()) - PENALTY
        return Unigram(scores, self.byte_fallback, self.patterns)


def understand_pieces(content: Mapping[str, Any]) -> PiecesFile:
    """What a tokenizer.json says whose model is Unigram or BPE over characters. Raises as tokenizer_json.understand does."""
    model = member(content, "model")
    is_unigram = model.get("type") == "Unigram"
    scored = _scored(model) if is_unigram else {}
    texts = {i: text for i, (text, _) in scored.items()} if is_unigram else vocabulary(model)
    added = added_tokens(content)
    texts |= {token.id: token.text for token in added}
    refuse_duplicates(texts)
    refuse_overlaps([token.text for token in added])
    normalized = _normalizer(content.get("normalizer"))
    steps, patterns = _pre_tokenizer(content.get("pre_tokenizer"), normalized)
    before, after = around(content.get("post_processor"), set(texts))
    byte_fallback = flag(model, "byte_fallback")
    unknown = _unigram_unknown(model, len(scored)) if is_unigram else _bpe_unknown(model, texts)
    known = set(texts.values())
    if byte_fallback and any(f"<0x{byte:02X}>" not in known for byte in range(0x100)):
        raise UnsupportedModelError(f"{NAME}: model.byte_fallback is set, and not all of 256 byte tokens exist")
    if not is_unigram and not byte_fallback:
        raise UnsupportedModelError(f"{NAME}: a BPE model over characters without byte_fallback, which llmc cannot compile")
    return PiecesFile(
        texts, added, before, after, (*normalized, *steps), patterns or (() if is_unigram else WHOLE),
        _decoder(content.get("decoder")), byte_fallback, unknown,
        scores={i: score for i, (_, score) in scored.items()} if is_unigram else None,
        merges=() if is_unigram else merges_of(model, known), ignore_merges=flag(model, "ignore_merges"),
    )  # fmt: skip


# ---- The models


def _scored(model: Mapping[str, Any]) -> dict[int, tuple[str, float]]:
    """(text, log probability) by id, of a Unigram model."""
    vocab = of(model, "vocab", list, "an array")
    if not 0 < len(vocab) <= MAX_TOKENS:
        raise MalformedFileError(f"{NAME}: model.vocab has {len(vocab)} tokens, expected 1 to {MAX_TOKENS}")
    scored: dict[int, tuple[str, float]] = {}
    for i, piece in enumerate(vocab):
        if not isinstance(piece, list) or len(piece) != 2 or not isinstance(piece[0], str) or not piece[0]:
            raise MalformedFileError(f"{NAME}: model.vocab holds at {i} no text and score: {quoted(str(piece))}")
        if isinstance(piece[1], bool) or not isinstance(piece[1], int | float) or not math.isfinite(piece[1]):
            raise MalformedFileError(f"{NAME}: model.vocab gives token {i} the score {piece[1]!r:.30}, expected a finite number")
        check_text(piece[0])
        scored[i] = piece[0], float(piece[1])
    return scored


def _unigram_unknown(model: Mapping[str, Any], size: int) -> int:
    unknown: Any = model.get("unk_id")
    if not is_id(unknown) or unknown >= size:
        raise MalformedFileError(f"{NAME}: model.unk_id is {unknown!r:.30}, expected an id below {size}")
    return int(unknown)


def _bpe_unknown(model: Mapping[str, Any], texts: Mapping[int, str]) -> int | None:
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedModelError(f"{NAME}: model.{key} is {quoted(str(model[key]))}, which llmc cannot compile")
    return next((i for i, text in texts.items() if text == model.get("unk_token")), None)


# ---- What happens before and after the model


def _normalizer(normalizer: Any) -> tuple[Step, ...]:
    parts = sequence(normalizer, "normalizers", "normalizer")
    if sum(part["type"] == "Precompiled" for part in parts) > 1:
        raise UnsupportedModelError(f"{NAME}: more than one Precompiled normalizer")
    return tuple(step for part in parts for step in _steps_of(part))


def _steps_of(part: Mapping[str, Any]) -> tuple[Step, ...]:
    kind = part["type"]
    if kind in NORMAL_FORMS:
        return NORMAL_FORMS[kind]
    match kind:
        case "Precompiled":
            return _precompiled(part.get("precompiled_charsmap"))
        case "Replace":
            return (_replace(part),)
        case "Prepend":
            return (Prepend(of(part, "prepend", str, "a string")),)
        case "Strip":
            return (Strip(flag(part, "strip_left"), flag(part, "strip_right")),)
        case "Lowercase":
            return (Replace(lower()),)
        case "StripAccents":
            return (Replace(dict.fromkeys(members(category("M")), "")),)
    raise UnsupportedModelError(f"{NAME}: normalizer {quoted(kind)}, which llmc cannot compile")


def _precompiled(encoded: Any) -> tuple[Step, ...]:
    if encoded is None or encoded == "":
        return ()
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise MalformedFileError(f"{NAME}: normalizer.precompiled_charsmap is not base64") from None
    return (Rewrite(read_charsmap(raw, f"{NAME}: normalizer.precompiled_charsmap"), by_cluster=True),)


def _replace(part: Mapping[str, Any]) -> Step:
    pattern, by = part.get("pattern"), of(part, "content", str, "a string")
    if isinstance(pattern, dict):
        text, regex = pattern.get("String"), pattern.get("Regex")
        if isinstance(text, str) and text:
            return Literal(text, by)
        if regex == " {2,}":
            return Squeeze(" ", by)
    raise UnsupportedModelError(f"{NAME}: normalizer Replace of {quoted(str(pattern))}, which llmc cannot compile")


def _pre_tokenizer(pre_tokenizer: Any, before: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """(what is done to a text, what cuts it) by Metaspace, WhitespaceSplit before it, or nothing."""
    parts = sequence(pre_tokenizer, "pretokenizers", "pre_tokenizer")
    kinds = [part["type"] for part in parts]
    if kinds == ["Split"] and parts[0].get("pattern") == {"String": " "} and Literal(" ", SPACE) in before:
        return (), ()  # there are no spaces left to split by
    if kinds not in ([], ["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise UnsupportedModelError(f"{NAME}: pre_tokenizer {quoted(' '.join(kinds))}, which llmc cannot compile")
    if not kinds:
        return (), ()
    scheme, split = _scheme(parts[-1]), flag(parts[-1], "split", default=True)
    prefix = () if scheme == "never" else (Prepend(SPACE, unless_there=True, first=scheme == "first"),)
    if len(kinds) == 1:
        return (Literal(" ", SPACE), *prefix), WORDS if split else ()
    if scheme != "always":
        raise UnsupportedModelError(f"{NAME}: pre_tokenizer WhitespaceSplit with Metaspace's prepend_scheme {quoted(scheme)}")
    return (Replace(BLANKS), Squeeze(" ", " "), Strip(True, True), Literal(" ", SPACE), *prefix), WORDS


def _scheme(part: Mapping[str, Any]) -> str:
    if part.get("replacement", SPACE) != SPACE:
        raise UnsupportedModelError(f"{NAME}: Metaspace spells a space {quoted(str(part.get('replacement')))}, expected U+2581")
    old = "always" if flag(part, "add_prefix_space", default=True) else "never"
    scheme = part.get("prepend_scheme", old)
    if scheme not in SCHEMES:
        raise MalformedFileError(f"{NAME}: prepend_scheme is {quoted(str(scheme))}, expected one of {', '.join(SCHEMES)}")
    return str(scheme)


def _decoder(decoder: Any) -> bool:
    """Whether the space that a text begins with is dropped."""
    parts = sequence(decoder, "decoders", "decoder")
    dropped = False
    for part in parts:
        match part["type"]:
            case "Metaspace":
                dropped = _scheme(part) != "never"
            case "Strip" if (part.get("content"), part.get("start"), part.get("stop")) == (" ", 1, 0):
                dropped = True
            case "Replace" if (part.get("pattern"), part.get("content")) == ({"String": SPACE}, " "):
                pass
            case "ByteFallback" | "Fuse":
                pass
            case kind:
                raise UnsupportedModelError(f"{NAME}: decoder {quoted(kind)}, which llmc cannot compile")
    return dropped
