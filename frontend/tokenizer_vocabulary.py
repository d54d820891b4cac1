"""What a GGUF file says about its tokenizer, checked and completed as llama.cpp completes it.

A GGUF file leaves much unsaid (which tokens end a generation, which strip the blanks around them); llama.cpp derives it from
token texts and names. The same rules are here, once, at compile time: what comes out is explicit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.pretokenize import DEFAULT, PreTokenizer, by_name
from llmc.frontend.tokenizer_charsmap import read_charsmap
from llmc.frontend.tokenizer_normalizer import Literal, Step
from llmc.frontend.tokenizer_unigram import PENALTY, SPACE, Unigram, steps
from llmc.frontend.tokenizer_wordpiece import WordPiece, of_gguf

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
CHARSMAP = "tokenizer.ggml.precompiled_charsmap"
SCORES, MERGES = "tokenizer.ggml.scores", "tokenizer.ggml.merges"
MODEL, PRE = "tokenizer.ggml.model", "tokenizer.ggml.pre"
MAX_TOKENS = 1 << 24
MAX_TOKEN_BYTES = 1 << 16
NO_ID = 0xFFFFFFFF  # what a converter stores for -1: the file says that there is no such token


class Attribute(IntFlag):
    """What a token is. The first six are GGUF's token types, in their order from 1 (type 0 has none)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 4
    USER_DEFINED = 8
    UNUSED = 16
    BYTE = 32
    END_OF_GENERATION = 64


Attributes = npt.NDArray[np.uint8]
BY_TYPE = np.array([0, *(1 << i for i in range(6))], np.uint8)  # type 0 is "undefined"
HIDDEN = Attribute.CONTROL | Attribute.UNKNOWN  # shown only on request, recognised in text only on request
LOOKED_FOR = HIDDEN | Attribute.USER_DEFINED  # found in a text before it is tokenized

# Tokens known by their text where the file does not give an id; earlier ones win.
ROLE_TEXTS = {
    "eot": ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>")
    + ("[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>"),
    "eom": ("<|eom_id|>",),
    "fim_pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>"),
    "fim_suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>"),
    "fim_mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>"),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
ROLE_KEYS = {
    "bos": "bos", "eos": "eos", "eot": "eot", "eom": "eom", "unknown": "unknown", "sep": "seperator", "pad": "padding",
    "fim_pre": "fim_pre", "fim_suf": "fim_suf", "fim_mid": "fim_mid",
    "fim_pad": "fim_pad", "fim_rep": "fim_rep", "fim_sep": "fim_sep",
}  # fmt: skip
OLD_ROLE_KEYS = {"fim_pre": "prefix", "fim_suf": "suffix", "fim_mid": "middle"}
ENDING_ROLES = ("fim_pad", "fim_rep", "fim_sep", "eos", "eot", "eom")
ENDING_TEXTS = (
    *ROLE_TEXTS["eot"], "<|eom_id|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>", "[EOS]", "<eos>", "<turn|>",
    "<|tool_response>", "[e~[",
)  # fmt: skip
SHOWN_TEXTS = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")  # a harmony reply is parsed from them

GEMMA4 = "gemma4"  # both a tokenizer and the pre-tokenizer it has
ESCAPED = (Literal(" ", SPACE),)
NEEDED_ROLES = {"wordpiece": ("bos", "sep", "unknown"), "unigram": ("unknown",)}
FAMILIES = {"bpe": "BPE", "spm": "SentencePiece", "wordpiece": "WordPiece", "unigram": "Unigram"}
ROLE_DEFAULTS = {  # where the file does not say
    "bpe": {"bos": 11, "eos": 11},
    "spm": {"bos": 1, "eos": 2, "unknown": 0},
    "wordpiece": {"bos": 101, "unknown": 100, "sep": 102, "pad": 0},
    "unigram": {"eos": 1, "unknown": 2, "pad": 0},
}


PairTemplate = tuple[tuple[int, int], ...]
"""Tokens, FIRST and SECOND in their order, each with its segment."""
FIRST, SECOND = -2, -1


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as data. kind: "bpe", "spm", "wordpiece", "unigram"; roles: ids of "bos", "eos", "eot" ..., those there are.

    texts: the tokens as the file spells them; attributes u8 [tokens]: sums of Attribute; scores f32 [tokens] ("spm"); merges:
    pairs of texts, best first ("bpe"). characters: a word of BPE begins as characters, not as bytes. strip_left, strip_right:
    tokens that swallow the blanks beside them. steps: what is done to a text before all else. pair: how two texts become one,
    empty where the model has no way.
    """

    kind: str
    texts: list[str]
    attributes: Attributes
    roles: dict[str, int]
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool
    clean_spaces: bool
    pre: PreTokenizer | None = None
    merges: list[tuple[str, str]] = field(default_factory=list)
    scores: npt.NDArray[np.float32] | None = None
    strip_left: frozenset[int] = frozenset()
    strip_right: frozenset[int] = frozenset()
    add_sep: bool = False
    steps: tuple[Step, ...] = ()
    wordpiece: WordPiece | None = None
    unigram: Unigram | None = None
    characters: bool = False
    pair: PairTemplate = ()


def read_vocabulary(checkpoint: Checkpoint, pre: str | None = None) -> Vocabulary:
    """The vocabulary of a checkpoint; `pre` overrides its tokenizer.ggml.pre.

    Raises UnsupportedModelError for a tokenizer llmc does not know and MalformedFileError, naming the key, for one that
    contradicts itself.
    """
    kind = _kind(checkpoint)
    if kind != "bpe" and pre is not None:
        raise UnsupportedModelError(f"--pre {quoted(pre)} names a pre-tokenizer, and a {FAMILIES[kind]} tokenizer has none")
    row = _pre_tokenizer(checkpoint, pre) if kind == "bpe" else None
    texts = _texts(checkpoint)
    numbers = {text: i for i, text in enumerate(texts)}
    _refuse_duplicates(checkpoint, texts, numbers)
    attributes = _types(checkpoint, texts)
    defaults = {} if checkpoint.string(MODEL) == GEMMA4 else ROLE_DEFAULTS[kind]
    roles = _roles(checkpoint, defaults, row, len(texts))
    _derive_attributes(texts, numbers, attributes, roles)
    specials = np.flatnonzero(attributes & LOOKED_FOR).tolist()
    left, right = _strips(checkpoint, numbers, specials)
    wordpiece = _wordpiece(checkpoint, texts) if kind == "wordpiece" else None
    for role in NEEDED_ROLES.get(kind, ()):
        if role not in roles:
            raise MalformedFileError(f"{checkpoint.path.name}: there is no tokenizer.ggml.{ROLE_KEYS[role]}_token_id")
    unigram = _unigram(checkpoint, attributes, roles["unknown"]) if kind == "unigram" else None
    prefix = checkpoint.flag("tokenizer.ggml.add_space_prefix", kind == "spm")
    characters = row is not None and row.characters
    return Vocabulary(
        kind, texts, attributes, roles,
        add_bos=characters or _adds(checkpoint, "bos", kind in ("spm", "wordpiece") or (row is not None and row.add_bos), roles),
        add_eos=kind != "wordpiece" and _adds(checkpoint, "eos", kind == "unigram", roles),
        add_sep=kind == "wordpiece",
        add_space_prefix=prefix,
        clean_spaces=kind == "wordpiece" or (row is not None and row.clean_spaces),
        pre=row, strip_left=left, strip_right=right,
        merges=_merges(checkpoint) if kind == "bpe" else [],
        scores=_scores(checkpoint, len(texts)) if kind == "spm" else None,
        steps=wordpiece.steps if wordpiece else _steps(checkpoint, prefix) if unigram else ESCAPED if characters else (),
        wordpiece=wordpiece, unigram=unigram, characters=characters,
    )  # fmt: skip


def _steps(checkpoint: Checkpoint, prefix: bool) -> tuple[Step, ...]:
    """How a Unigram tokenizer prepares a text."""
    raw = checkpoint.integers(CHARSMAP, -128, 255, None)
    what = f"{checkpoint.key_file}: key {quoted(CHARSMAP)}"
    charsmap = None if raw is None else read_charsmap(bytes(byte & 0xFF for byte in raw), what)
    merge_spaces = checkpoint.flag("tokenizer.ggml.remove_extra_whitespaces", False)
    return steps(charsmap, prefix or merge_spaces, merge_spaces)  # llama.cpp puts a space before every word it makes


def _unigram(checkpoint: Checkpoint, attributes: Attributes, unknown: int) -> Unigram:
    """As llama.cpp reads it: sums of f32, of which user-defined tokens add 0, and no byte tokens."""
    scores = _scores(checkpoint, len(attributes)).astype(np.float32)
    normal = scores[attributes & Attribute.NORMAL != 0]
    if not len(normal) or not np.isfinite(scores).all():
        raise checkpoint.wrong(SCORES, "holds no finite score for every token, or there are no normal tokens")
    chosen = scores.astype(np.float64)
    chosen[attributes & (Attribute.NORMAL | Attribute.USER_DEFINED | Attribute.UNUSED) == 0] = np.nan
    chosen[attributes & Attribute.USER_DEFINED != 0] = 0.0
    chosen[unknown] = normal.min() - np.float32(PENALTY)
    return Unigram(chosen)


def _wordpiece(checkpoint: Checkpoint, texts: list[str]) -> WordPiece:
    lowercase = checkpoint.flag("tokenizer.ggml.normalizer.lowercase", True)
    return of_gguf(texts, lowercase, checkpoint.flag("tokenizer.ggml.normalizer.strip_accents", lowercase))


def _kind(checkpoint: Checkpoint) -> str:
    model = checkpoint.string(MODEL)
    kinds = {"gpt2": "bpe", GEMMA4: "bpe", "llama": "spm", "bert": "wordpiece", "t5": "unigram"}
    if model in kinds:
        return kinds[model]
    known = {"rwkv": "RWKV", "plamo2": "PLaMo", "plamo3": "PLaMo"}
    what = f" ({known[model]})" if model in known else ""
    hint = "it compiles gpt2 (byte-level BPE), gemma4 (BPE), llama (SentencePiece BPE), t5 (Unigram) and bert (WordPiece)"
    raise UnsupportedModelError(f"{MODEL} is {quoted(model)}{what}, which llmc cannot compile", hint=hint)


def _pre_tokenizer(checkpoint: Checkpoint, pre: str | None) -> PreTokenizer:
    given = GEMMA4 if checkpoint.string(MODEL) == GEMMA4 else checkpoint.string(PRE, DEFAULT)
    name = given if pre is None else pre
    if name in by_name():
        return by_name()[name]
    hint = "choose one with --pre; the names are " + ", ".join(sorted(filter(None, by_name())))
    raise UnsupportedModelError(f"{PRE if pre is None else '--pre'} is {quoted(name)}, which llmc does not know", hint=hint)


def _texts(checkpoint: Checkpoint) -> list[str]:
    texts = checkpoint.strings(TOKENS)
    if not 0 < len(texts) <= MAX_TOKENS:
        raise checkpoint.wrong(TOKENS, f"holds {len(texts)} tokens, expected 1 to {MAX_TOKENS}")
    for i, text in enumerate(texts):
        if len(text) > MAX_TOKEN_BYTES // 4 and len(text.encode()) > MAX_TOKEN_BYTES:
            raise checkpoint.wrong(TOKENS, f"holds a token (token {i}) of more than {MAX_TOKEN_BYTES} bytes")
        if not text:
            texts[i] = f"[EMPTY_{i}]"
    return texts


def _refuse_duplicates(checkpoint: Checkpoint, texts: list[str], numbers: dict[str, int]) -> None:
    if len(numbers) == len(texts):
        return
    first = next(i for i, text in enumerate(texts) if numbers[text] != i)
    last = numbers[texts[first]]
    raise checkpoint.wrong(TOKENS, f"holds {quoted(texts[first])} twice, as token {first} and as token {last}")


def _types(checkpoint: Checkpoint, texts: list[str]) -> Attributes:
    types = checkpoint.integers(TYPES, 0, len(BY_TYPE) - 1, None)
    if types is None:
        return np.full(len(texts), Attribute.NORMAL, np.uint8)
    if len(types) != len(texts):
        raise checkpoint.wrong(TYPES, f"holds {len(types)} types for {len(texts)} tokens")
    attributes: Attributes = BY_TYPE[np.array(types)]
    for i in np.flatnonzero(attributes == Attribute.BYTE).tolist():
        if byte_of(texts[i]) is None:
            raise checkpoint.wrong(TOKENS, f"holds {quoted(texts[i])} as token {i}, a byte token, expected <0x00> to <0xFF>")
    return attributes


def byte_of(text: str) -> int | None:
    """The byte that a byte token such as <0x0A> stands for; None if the text is no such token."""
    digits = text[3:5]
    hexadecimal = len(digits) == 2 and all(c in "0123456789abcdefABCDEF" for c in digits)
    return int(digits, 16) if hexadecimal and text == f"<0x{digits}>" else None


def _roles(checkpoint: Checkpoint, defaults: Mapping[str, int], row: PreTokenizer | None, count: int) -> dict[str, int]:
    roles = {role: i for role, i in defaults.items() if i < count and not (role == "bos" and row and not row.default_bos)}
    for role, name in [*ROLE_KEYS.items(), *OLD_ROLE_KEYS.items()]:
        key = f"tokenizer.ggml.{name}_token_id"
        if checkpoint.keys.get(key) in (NO_ID, -1):
            continue
        given = checkpoint.integer(key, 0, count - 1, None)
        if given is not None:
            roles[role] = given
    return roles


def _adds(checkpoint: Checkpoint, role: str, default: bool, roles: dict[str, int]) -> bool:
    """Whether the token of a role is added around a text, when asked to add what the model expects."""
    key = f"tokenizer.ggml.add_{role}_token"
    adds = checkpoint.flag(key, default)
    if adds and role not in roles:
        raise MalformedFileError(f"{checkpoint.path.name}: {key} is true, but there is no tokenizer.ggml.{role}_token_id")
    return adds


def _derive_attributes(texts: list[str], numbers: dict[str, int], attributes: Attributes, roles: dict[str, int]) -> None:
    """Completes roles and attributes from token texts, in place."""
    for role, names in ROLE_TEXTS.items():
        found = next((numbers[name] for name in names if name in numbers), None)
        if role not in roles and found is not None:
            roles[role] = found
            attributes[found] |= Attribute.CONTROL
    ending = {numbers[name] for name in ENDING_TEXTS if name in numbers}
    for i in ending:
        attributes[i] |= Attribute.CONTROL
    for name in SHOWN_TEXTS:
        if name in numbers:
            attributes[numbers[name]] = Attribute.USER_DEFINED
    ending |= {roles[role] for role in ENDING_ROLES if role in roles}
    _spare_texts_that_do_not_end(texts, attributes, ending)
    for i in ending:
        attributes[i] |= Attribute.END_OF_GENERATION


def _spare_texts_that_do_not_end(texts: list[str], attributes: Attributes, ending: set[int]) -> None:
    """Some ending texts mean something else in company: <|end|> closes one message of several in harmony, </s> is text."""
    names = {texts[i]: i for i in ending}
    calls = "<|call|>" in names or "<|calls|>" in names
    if calls and "<|end|>" in names and ("<|return|>" in names or "<|flush|>" in names):
        ending.remove(names["<|end|>"])
        attributes[names["<|end|>"]] = Attribute.USER_DEFINED
    if "<|tool_response>" in names and "</s>" in names:
        ending.remove(names["</s>"])
        attributes[names["</s>"]] = Attribute.NORMAL


def _strips(checkpoint: Checkpoint, numbers: dict[str, int], specials: list[int]) -> tuple[frozenset[int], frozenset[int]]:
    """(tokens that swallow blanks before them, after them): no GGUF key says it, so it goes by the model's name."""
    name = checkpoint.string("general.name", "").lower()
    pre = checkpoint.string(PRE, "")
    masks: Iterable[str] = ()
    if any(model in pre for model in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
        masks = ("<mask>",)
    elif "phi-3" in name or "phi3" in name:
        kept = {numbers[text] for text in ("<unk>", "<s>", "<|endoftext|>") if text in numbers}
        return frozenset(), frozenset({*specials, *(numbers[t] for t in ("</s>",) if t in numbers)} - kept)
    elif "modern-bert" in name:
        masks = ("[MASK]",)
    return frozenset(numbers[mask] for mask in masks if mask in numbers), frozenset()


def _merges(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    pairs = []
    for i, merge in enumerate(checkpoint.strings(MERGES)):
        left, _, right = merge.partition(" ")
        if not left or not right or " " in right:
            raise checkpoint.wrong(MERGES, f"holds {quoted(merge)} at index {i}, expected two parts and one space between them")
        pairs.append((left, right))
    return pairs


def _scores(checkpoint: Checkpoint, count: int) -> npt.NDArray[np.float32]:
    scores = checkpoint.numbers(SCORES)
    if len(scores) != count:
        raise checkpoint.wrong(SCORES, f"holds {len(scores)} scores for {count} tokens")
    return scores.astype(np.float32)
