"""The tokenizer of a Hugging Face directory: tokenizer.json, else tokenizer.model or vocab.txt; which tokens begin and end texts
is said by tokenizer_config.json and generation_config.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend import sentencepiece_model
from llmc.frontend.checkpoint import quoted
from llmc.frontend.json_file import json_kind, read_json
from llmc.frontend.pretokenize import PreTokenizer
from llmc.frontend.sentencepiece_model import Piece, SentencePieceModel, read_sentencepiece
from llmc.frontend.tokenizer_json import TokenizerJson, is_byte_level, understand
from llmc.frontend.tokenizer_json_fields import NAME, AddedToken, added_token, model_type
from llmc.frontend.tokenizer_json_pieces import PiecesFile, understand_pieces
from llmc.frontend.tokenizer_json_wordpiece import VOCABULARY, WordPieceFile, read_vocab_txt, understand_wordpiece
from llmc.frontend.tokenizer_normalizer import Literal, Prepend
from llmc.frontend.tokenizer_template import huggingface_pair
from llmc.frontend.tokenizer_unigram import PENALTY, Unigram, steps
from llmc.frontend.tokenizer_vocabulary import BY_TYPE, Attribute, Attributes, Vocabulary, byte_of

CONFIG: Final = "tokenizer_config.json"
MAX_JSON: Final = 64 << 20
MAX_TEMPLATE: Final = 1 << 20
ROLE_KEYS: Final = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "sep": "sep_token", "pad": "pad_token"}
UNUSED_TEXT: Final = "<llmc▁unused▁{}>"  # rows of the embedding that no token has; ▁ keeps byte-level BPE from spelling it


def read_huggingface_vocabulary(folder: Path, size: int | None, pre: str | None = None) -> Vocabulary:
    """The vocabulary of a model directory, completed to `size` tokens (None: those it has); `pre` overrides the pre-tokenizer.

    Raises UnsupportedModelError for a tokenizer llmc does not know and MalformedFileError, naming file and key, for one that
    contradicts itself or has more than `size` tokens.
    """
    content = _optional(folder / NAME)
    vocabulary = _read(folder, content, size, pre)
    return replace(vocabulary, pair=huggingface_pair(content, vocabulary))


def _read(folder: Path, content: Mapping[str, Any], size: int | None, pre: str | None) -> Vocabulary:
    """All of it but how two texts become one. content: of tokenizer.json."""
    config, has_model = _optional(folder / CONFIG), (folder / sentencepiece_model.NAME).exists()
    if model_type(content) == "WordPiece":
        return _wordpiece(folder, config, understand_wordpiece(content), size, pre)
    if not content and not has_model and (folder / VOCABULARY).exists():
        return _wordpiece(folder, config, read_vocab_txt(folder / VOCABULARY, config), size, pre)
    if content and model_type(content) in ("BPE", "Unigram") and not is_byte_level(content):
        return _pieces(folder, config, understand_pieces(content), size, pre)
    if content:
        return _byte_level(folder, config, understand(content, pre), size)
    if not has_model:
        raise UnsupportedModelError(f"{NAME} and {sentencepiece_model.NAME} are missing: there is no tokenizer")
    if pre is not None:
        raise UnsupportedModelError(f"--pre {quoted(pre)} names a pre-tokenizer, and a SentencePiece tokenizer has none")
    return _sentencepiece(folder, config, size)


def is_tokenizer_directory(folder: Path) -> bool:
    """Whether there is a tokenizer to read."""
    return any((folder / name).is_file() for name in (NAME, sentencepiece_model.NAME, VOCABULARY))


def chat_template(folder: Path) -> str | None:
    """The Jinja text, unread: of chat_template.jinja, else of tokenizer_config.json, where several may have names."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        raw = path.read_bytes() if path.stat().st_size <= MAX_TEMPLATE else b"\0" * (MAX_TEMPLATE + 1)
        try:
            return _bounded(raw.decode(), path.name)
        except UnicodeDecodeError:
            raise MalformedFileError(f"{path.name}: not UTF-8") from None
    template = _optional(folder / CONFIG).get("chat_template")
    if isinstance(template, list):
        named = {t["name"]: t.get("template") for t in template if isinstance(t, dict) and isinstance(t.get("name"), str)}
        template = named.get("default")
    if template is None:
        return None
    if not isinstance(template, str):
        raise MalformedFileError(f"{CONFIG}: chat_template is {json_kind(template)}, expected a string")
    return _bounded(template, f"{CONFIG}: chat_template")


def _bounded(template: str, what: str) -> str:
    if len(template) > MAX_TEMPLATE:
        raise MalformedFileError(f"{what} is longer than {MAX_TEMPLATE} bytes")
    return template


def _byte_level(folder: Path, config: Mapping[str, Any], t: TokenizerJson, size: int | None) -> Vocabulary:
    added = _with_decoder(t.added, config)
    texts, attributes = _complete(t.texts, added, size)
    roles = _roles(folder, config, texts)
    roles |= _around_roles(t.before, t.after, "eos")
    _mark_ends(folder, attributes, roles)
    return Vocabulary(
        "bpe", texts, attributes, roles,
        add_bos=bool(t.before), add_eos=bool(t.after), add_space_prefix=False, clean_spaces=False,
        pre=t.pre, steps=t.steps, merges=list(t.merges), strip_left=_strip(added, "left"), strip_right=_strip(added, "right"),
    )  # fmt: skip


def _wordpiece(folder: Path, config: Mapping[str, Any], file: WordPieceFile, size: int | None, pre: str | None) -> Vocabulary:
    if pre is not None:
        raise UnsupportedModelError(f"--pre {quoted(pre)} names a pre-tokenizer, and a WordPiece tokenizer has none")
    texts, attributes = _complete(file.texts, file.added, size)
    roles = _roles(folder, config, texts) | {"unknown": file.unknown}
    roles |= _around_roles(file.before, file.after, "sep")
    _mark_ends(folder, attributes, roles)
    return Vocabulary(
        "wordpiece", texts, attributes, roles, add_bos=bool(file.before), add_eos=False, add_sep=bool(file.after),
        add_space_prefix=True, clean_spaces=False, strip_left=_strip(file.added, "left"), strip_right=_strip(file.added, "right"),
        steps=file.wordpiece.steps, wordpiece=file.wordpiece,
    )  # fmt: skip


def _pieces(folder: Path, config: Mapping[str, Any], file: PiecesFile, size: int | None, pre: str | None) -> Vocabulary:
    if pre is not None:
        raise UnsupportedModelError(f"--pre {quoted(pre)} names a pre-tokenizer, and a SentencePiece tokenizer has none")
    added = _with_decoder(file.added, config)
    texts, attributes = _complete(file.texts, added, size)
    for i, text in enumerate(texts) if file.byte_fallback else ():
        if attributes[i] == Attribute.NORMAL and byte_of(text) is not None:
            attributes[i] = Attribute.BYTE
    roles = _roles(folder, config, texts) | ({} if file.unknown is None else {"unknown": file.unknown})
    roles |= _around_roles(file.before, file.after, "eos")
    _mark_ends(folder, attributes, roles)
    is_bpe = file.scores is None
    return Vocabulary(
        "bpe" if is_bpe else "unigram", texts, attributes, roles,
        add_bos=bool(file.before), add_eos=bool(file.after), add_space_prefix=file.space_prefix, clean_spaces=False,
        pre=PreTokenizer((), file.patterns, file.ignore_merges, characters=True) if is_bpe else None, merges=list(file.merges),
        strip_left=_strip(added, "left"), strip_right=_strip(added, "right"), steps=file.steps,
        unigram=None if is_bpe else file.unigram(len(texts)), characters=is_bpe,
    )  # fmt: skip


def _around_roles(before: Sequence[int], after: Sequence[int], last: str) -> dict[str, int]:
    """The roles of the tokens that are put around a text; `last` is that of the one after it."""
    for ids in (before, after):
        if len(ids) > 1:
            raise UnsupportedModelError(f"{NAME}: post_processor adds {len(ids)} tokens on one side of a text")
    return {role: ids[0] for role, ids in (("bos", before), (last, after)) if ids}


def _sentencepiece(folder: Path, config: Mapping[str, Any], size: int | None) -> Vocabulary:
    model = read_sentencepiece(folder / sentencepiece_model.NAME)
    added = _with_decoder((), config)
    texts, attributes = _complete({i: piece.text for i, piece in enumerate(model.pieces)}, added, size)
    attributes[: len(model.pieces)] = BY_TYPE[[piece.type for piece in model.pieces]]
    _mark_added(attributes, added)
    roles = {name: i for name, i in (("unknown", model.unknown), ("bos", model.bos), ("eos", model.eos)) if 0 <= i < len(texts)}
    roles |= _roles(folder, config, texts)
    _mark_ends(folder, attributes, roles)
    scores = np.zeros(len(texts), np.float32)
    scores[: len(model.pieces)] = [piece.score for piece in model.pieces]
    add_bos, add_eos = _flag(config, "add_bos_token", True), _flag(config, "add_eos_token", False)
    for role, adds in (("bos", add_bos), ("eos", add_eos)):
        if adds and role not in roles:
            raise MalformedFileError(f"{CONFIG}: add_{role}_token is set, but there is no {role}_token")
    prefix, is_bpe = _flag(config, "add_prefix_space", model.add_space_prefix), model.kind == sentencepiece_model.BPE
    prepared = steps(model.charsmap, prefix, model.merge_spaces)
    return Vocabulary(
        "spm" if is_bpe else "unigram", texts, attributes, roles,
        add_bos=add_bos, add_eos=add_eos, add_space_prefix=prefix,
        clean_spaces=False, scores=scores, steps=tuple(s for s in prepared if not (is_bpe and isinstance(s, Prepend | Literal))),
        unigram=None if is_bpe else _unigram(model, len(texts)),
        strip_left=_strip(added, "left"), strip_right=_strip(added, "right"),
    )  # fmt: skip


def _unigram(model: SentencePieceModel, size: int) -> Unigram:
    """Scores as SentencePiece takes them: f32, 0 for user-defined pieces, none for control, byte and unused ones."""
    scores = np.full(size, np.nan)
    scores[: len(model.pieces)] = [_score(piece) for piece in model.pieces]
    normal = [piece.score for piece in model.pieces if BY_TYPE[piece.type] == Attribute.NORMAL]
    if not normal or not 0 <= model.unknown < size:
        raise MalformedFileError(f"{sentencepiece_model.NAME}: no normal pieces, or no unknown one")
    scores[model.unknown] = np.float32(min(normal)) - np.float32(PENALTY)
    return Unigram(scores, model.byte_fallback)


def _score(piece: Piece) -> float:
    kind = BY_TYPE[piece.type]
    return piece.score if kind == Attribute.NORMAL else 0.0 if kind == Attribute.USER_DEFINED else np.nan


def _with_decoder(added: Sequence[AddedToken], config: Mapping[str, Any]) -> list[AddedToken]:
    """Added tokens of the tokenizer, and those that only tokenizer_config.json knows."""
    decoder = config.get("added_tokens_decoder", {})
    if not isinstance(decoder, dict):
        raise MalformedFileError(f"{CONFIG}: added_tokens_decoder is {json_kind(decoder)}, expected an object")
    known = {token.id for token in added}
    more = (added_token(token, int(i) if re.fullmatch("[0-9]{1,8}", i) else None, CONFIG) for i, token in decoder.items())
    return [*added, *(token for token in more if token.id not in known)]


def _complete(known: Mapping[int, str], added: Sequence[AddedToken], size: int | None) -> tuple[list[str], Attributes]:
    """(texts, attributes) of `size` tokens, or of as many as there are; ids without a token are unused."""
    texts = {**known, **{token.id: token.text for token in added}}
    size = max(texts) + 1 if size is None else size
    if max(texts) >= size:
        raise MalformedFileError(
            f"the tokenizer has token {max(texts)} ({quoted(texts[max(texts)])}), but the embedding has {size} rows (vocab_size)"
        )
    attributes = np.full(size, Attribute.UNUSED, np.uint8)
    attributes[list(texts)] = Attribute.NORMAL
    _mark_added(attributes, added)
    whole = [texts[i] if i in texts else UNUSED_TEXT.format(i) for i in range(size)]
    if len(set(whole)) != size:
        raise MalformedFileError(f"{CONFIG}: added_tokens_decoder gives a token that there is another id")
    return whole, attributes


def _mark_added(attributes: Attributes, added: Sequence[AddedToken]) -> None:
    for token in added:
        attributes[token.id] = Attribute.CONTROL if token.special else Attribute.USER_DEFINED


def _strip(added: Sequence[AddedToken], side: str) -> frozenset[int]:
    return frozenset(token.id for token in added if (token.strip_left if side == "left" else token.strip_right))


def _roles(folder: Path, config: Mapping[str, Any], texts: Sequence[str]) -> dict[str, int]:
    """Ids by role: tokens named in tokenizer_config.json, else the ids of generation_config.json and config.json."""
    numbers = {text: i for i, text in enumerate(texts)}
    roles: dict[str, int] = {}
    for role, key in ROLE_KEYS.items():
        given = config.get(key)
        text = given.get("content") if isinstance(given, dict) else given
        if text is not None and not isinstance(text, str):
            raise MalformedFileError(f"{CONFIG}: {key} is {json_kind(given)}, expected a string")
        if text is not None and text in numbers:
            roles[role] = numbers[text]
        elif role in ("bos", "eos"):
            ids = [i for name in ("generation_config.json", "config.json") for i in _ids(folder / name, f"{key}_id", len(texts))]
            if ids:
                roles[role] = ids[0]
    return roles


def _mark_ends(folder: Path, attributes: Attributes, roles: Mapping[str, int]) -> None:
    """Tokens that end a generation: eos, and all that generation_config.json and config.json name."""
    files = ("generation_config.json", "config.json")
    ends = {i for name in files for i in _ids(folder / name, "eos_token_id", len(attributes))}
    for i in ends | {i for role, i in roles.items() if role == "eos"}:
        attributes[i] |= Attribute.END_OF_GENERATION


def _ids(path: Path, key: str, size: int) -> list[int]:
    """The id or ids that a file gives for a key; none where it says nothing."""
    value = _optional(path).get(key)
    ids = value if isinstance(value, list) else [] if value is None else [value]
    for i in ids:
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < size:
            raise MalformedFileError(f"{path.name}: key {key} holds {i!r:.30}, expected ids from 0 to {size - 1}")
    return ids


def _optional(path: Path) -> dict[str, Any]:
    """The object in a file that need not be there."""
    return read_json(path, MAX_JSON) if path.exists() else {}


def _flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedFileError(f"{CONFIG}: {key} is {json_kind(value)}, expected a boolean")
    return default if value is None else value
