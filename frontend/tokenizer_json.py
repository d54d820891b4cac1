r"""tokenizer.json of the `tokenizers` package: byte-level BPE. What comes out tokenizes as that package does, where tokens that
strip have no other blanks beside them than ASCII's. Added tokens are sought in a text as it is, before it is normalised.

A regex is compiled if its text is one of REGEXES: a foreign regex could take any time to compile, and mean something else in the
package's regex engine. `--pre` names a row of pretokenize.py instead.

Reference: https://github.com/huggingface/tokenizers, tokenizers/src/{models/bpe,pre_tokenizers,added_vocabulary.rs}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmc.errors import UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.pretokenize import PreTokenizer, by_name
from llmc.frontend.tokenizer import ALPHABET
from llmc.frontend.tokenizer_json_fields import (
    NAME,
    NORMAL_FORMS,
    AddedToken,
    Merges,
    added_tokens,
    around,
    flag,
    member,
    merges_of,
    refuse_duplicates,
    refuse_overlaps,
    sequence,
    vocabulary,
)
from llmc.frontend.tokenizer_normalizer import Prepend, Step

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
class TokenizerJson:
    """Byte-level BPE. texts by id; before, after: what the post-processor adds around a text; steps: how a text is normalised."""

    texts: Mapping[int, str]
    merges: Merges
    added: Sequence[AddedToken]
    pre: PreTokenizer
    before: Sequence[int] = field(default_factory=tuple)
    after: Sequence[int] = field(default_factory=tuple)
    steps: tuple[Step, ...] = ()


def is_byte_level(content: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json describes byte-level BPE."""
    model, decoder = content.get("model"), content.get("decoder")
    byte_level = isinstance(decoder, dict) and decoder.get("type") == "ByteLevel"
    return isinstance(model, dict) and model.get("type") == "BPE" and byte_level


def understand(content: Mapping[str, Any], pre: str | None) -> TokenizerJson:
    """What a byte-level tokenizer.json says; `pre` names a pre-tokenizer to use instead of the file's.

    Raises MalformedFileError for a file that contradicts itself and UnsupportedModelError for what llmc does not compile.
    """
    model = member(content, "model")
    _check_model(model)
    texts = _texts(model)
    added = added_tokens(content)
    texts |= {token.id: token.text for token in added}
    refuse_duplicates(texts)
    refuse_overlaps([token.text for token in added])
    merges = merges_of(model, set(texts.values()))
    steps = _normalizer(content.get("normalizer"))
    ignore_merges = flag(model, "ignore_merges")
    patterns = _named(pre).patterns if pre is not None else _patterns(content.get("pre_tokenizer"))
    steps += _prefix(content.get("pre_tokenizer")) if pre is None else ()
    row = PreTokenizer((), patterns, ignore_merges)
    before, after = around(content.get("post_processor"), set(texts))
    return TokenizerJson(texts, merges, added, row, before, after, steps)


# ---- The model


def _check_model(model: Mapping[str, Any]) -> None:
    kind = model.get("type", "BPE")
    if kind != "BPE":
        raise UnsupportedModelError(f"{NAME}: model.type is {quoted(str(kind))}; llmc compiles byte-level BPE")
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedModelError(f"{NAME}: model.{key} is {quoted(str(model[key]))}, which byte-level BPE does not use")
    if flag(model, "byte_fallback"):
        raise UnsupportedModelError(f"{NAME}: model.byte_fallback is set, which byte-level BPE does not use")


def _texts(model: Mapping[str, Any]) -> dict[int, str]:
    """Token texts by id; every byte has one."""
    texts = vocabulary(model)
    known = set(texts.values())
    missing = [char for char in ALPHABET if char not in known]
    if missing:
        raise UnsupportedModelError(f"{NAME}: model.vocab has no token for {len(missing)} of 256 bytes")
    return texts


# ---- What happens before and after the model


def _normalizer(normalizer: Any) -> tuple[Step, ...]:
    """What is done to a text before it is cut."""
    kinds = [part["type"] for part in sequence(normalizer, "normalizers", "normalizer")]
    for kind in kinds:
        if kind not in NORMAL_FORMS:
            raise UnsupportedModelError(f"{NAME}: normalizer {quoted(kind)}, which llmc cannot compile")
    return tuple(step for kind in kinds for step in NORMAL_FORMS[kind])


def _patterns(pre_tokenizer: Any) -> tuple[str, ...]:
    """The regexes that cut a text, each applied to the pieces of the one before; the last step must be ByteLevel."""
    parts = sequence(pre_tokenizer, "pretokenizers", "pre_tokenizer")
    if not parts or parts[-1]["type"] != "ByteLevel":
        raise _unknown_pre(f"pre_tokenizer does not end in ByteLevel, but in {quoted(parts[-1]['type']) if parts else 'nothing'}")
    patterns = [pattern for part in parts for pattern in _cuts(part)]
    if not patterns:
        raise _unknown_pre("pre_tokenizer does not cut texts")
    return tuple(patterns)


def _prefix(pre_tokenizer: Any) -> tuple[Step, ...]:
    """A space before every stretch of text, where ByteLevel puts one."""
    parts = sequence(pre_tokenizer, "pretokenizers", "pre_tokenizer")
    if not flag(parts[-1], "add_prefix_space", default=True):
        return ()
    if len(parts) > 1:
        raise _unknown_pre("pre_tokenizer puts a space before every piece of a text (ByteLevel, add_prefix_space)")
    return (Prepend(" ", unless_there=True),)


def _cuts(part: Mapping[str, Any]) -> list[str]:
    """The patterns of one step."""
    kind = part["type"]
    if kind == "ByteLevel":
        return [GPT2] if flag(part, "use_regex", default=True) else []
    if kind == "Digits":
        return [r"\p{N}" if flag(part, "individual_digits") else r"\p{N}+"]
    if kind != "Split":
        raise _unknown_pre(f"pre_tokenizer {quoted(kind)}")
    pattern = part.get("pattern")
    regex: Any = pattern.get("Regex") if isinstance(pattern, dict) else None
    if not isinstance(regex, str) or regex not in REGEXES:
        raise _unknown_pre(f"pre_tokenizer Split by {quoted(str(pattern), 200)}")
    behavior, invert = part.get("behavior"), flag(part, "invert")
    covers = behavior == "Removed" and invert and regex.startswith((WRITTEN, GPT2))  # there is nothing between matches
    if behavior != "Isolated" and not covers:
        raise _unknown_pre(f"pre_tokenizer Split with behavior {quoted(str(behavior))}")
    return [REGEXES[regex]]


def _named(pre: str) -> PreTokenizer:
    if pre not in by_name():
        raise _unknown_pre(f"--pre {quoted(pre)}")
    return by_name()[pre]


def _unknown_pre(what: str) -> UnsupportedModelError:
    hint = "choose one with --pre; the names are " + ", ".join(sorted(filter(None, by_name())))
    return UnsupportedModelError(f"{NAME}: {what}, which llmc does not know", hint=hint)
