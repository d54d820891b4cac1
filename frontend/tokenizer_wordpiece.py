r"""WordPiece: words are cut from left to right into the longest pieces that the vocabulary has, or are unknown as a whole.

A piece that begins a word is another token than the same letters inside one. tokenizer.json spells the latter with "##"; GGUF
files spell the former with U+2581 and leave the latter bare. Here a piece is a key: `FIRST` or U+2581 before what begins a word.
Wu et al., arXiv:1609.08144; the words are those of BERT, arXiv:1810.04805.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmc.frontend import unicode_mappings
from llmc.frontend.tokenizer_normalizer import Decompose, Replace, Step, chain, lower, nonspacing
from llmc.frontend.unicode_data import WHITE_SPACE, category

PHANTOM_SPACE = "▁".encode()
FIRST = b"\xff"  # no text holds it, so no piece can be mistaken for another
IDEOGRAPHS = "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b920-\U0002ceaf"
IDEOGRAPHS += "\uf900-\ufaff\U0002f800-\U0002fa1f"
WHITE = unicode_mappings.members(WHITE_SPACE)
PUNCTUATION = r"\p{P}$+<=>^`|~"


@dataclass(frozen=True)
class WordPiece:
    """keys: the text that each token matches, by id; first: what begins the key of a piece that begins a word.

    patterns: what cuts a text into words, blanks among them. longest_word: in code points, longer ones are unknown; 0: any.
    """

    keys: Mapping[int, bytes]
    first: bytes
    steps: tuple[Step, ...]
    patterns: tuple[str, ...]
    longest_word: int
    pieces: Mapping[int, bytes] | None = None  # what each token prints, by id; None: its text, U+2581 as a space


def words(ideographs: bool) -> tuple[str, ...]:
    """Runs of blanks, single punctuation marks (and ideographs), and everything between."""
    alone = PUNCTUATION + (IDEOGRAPHS if ideographs else "")
    return (rf"\s+|[{alone}]|[^\s{alone}]+",)


def clean(blanks: frozenset[int]) -> Mapping[int, str]:
    """`blanks` become spaces, other control characters and U+FFFD nothing."""
    dropped = unicode_mappings.members(unicode_mappings.minor("C")) | {0xFFFD}
    return {c: "" for c in dropped - blanks} | {c: " " for c in blanks if c != ord(" ")}


def of_gguf(texts: list[str], lowercase: bool, strip_accents: bool) -> WordPiece:
    """As llama.cpp does: of a decomposition and of a lower case the first code point stays; marks of any kind are accents."""
    decomposed = {c: text[0] for c, text in unicode_mappings.decompositions(False).items()}
    decomposed |= {c: chr(0x1100 + (c - 0xAC00) // 588) for c in unicode_mappings.HANGUL}
    decomposed |= dict.fromkeys(unicode_mappings.members(category("M")), "")
    lowered = {c: text[0] for c, text in lower().items()}
    maps = [*([decomposed] if strip_accents else []), clean(WHITE), *([lowered] if lowercase else [])]
    return WordPiece(
        {i: text.encode() for i, text in enumerate(texts)}, PHANTOM_SPACE, (chain(maps),), words(ideographs=True), 0
    )  # fmt: skip


def of_tokenizers(
    texts: Mapping[int, str], prefix: str, longest_word: int, *, cleaned: bool, ideographs: bool, accents: bool, lowercase: bool
) -> WordPiece:
    """As the `tokenizers` package does. accents: they are kept."""
    inside = {i for i, text in texts.items() if text.startswith(prefix) and text != prefix}
    keys = {i: text[len(prefix) :].encode() if i in inside else FIRST + text.encode() for i, text in texts.items()}
    cleaning = [Replace(clean(WHITE - set(b"\v\f\x85")))] if cleaned else []
    maps = [*([] if accents else [dict.fromkeys(nonspacing(), "")]), *([lower()] if lowercase else [])]
    steps: list[Step] = [*cleaning, *([] if accents else [Decompose()]), *([chain(maps)] if maps else [])]
    return WordPiece(keys, FIRST, tuple(steps), words(ideographs), longest_word)
