"""A byte-level BPE vocabulary of any size, made up: 256 byte tokens, then merges of letters in order of how common they are.

Words of real text then split into pieces of two to four letters, as in languages a real vocabulary knows badly. Nothing is learnt
from text, so the vocabulary is the same everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

LETTERS = "etaoinshrdlucmfwypvbgkqjxz"  # by frequency in English
SPACE = "\u0120"  # how byte-level BPE writes a space
NORMAL, CONTROL = 1, 3  # token types of GGUF


@dataclass(frozen=True)
class Vocabulary:
    """`types` are GGUF token types; `bos` and `eos` are the first two control tokens, which end the vocabulary."""

    tokens: list[str]
    types: list[int]
    merges: list[str]
    bos: int
    eos: int


def byte_tokens() -> list[str]:
    """How byte-level BPE writes bytes 0..255: printable ones as themselves, the rest as characters from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = count(0x100)
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs to merge, best first; every result is a new token and both parts exist by then."""
    pairs = sorted(((a, b) for a in LETTERS for b in LETTERS), key=lambda p: (LETTERS.index(p[0]) + LETTERS.index(p[1]), p))
    yield from pairs
    yield from ((SPACE, letter) for letter in LETTERS)
    yield from ((SPACE, a + b) for a, b in pairs)
    words = [a + b for a, b in pairs]
    for total in range(2 * len(words) - 1):
        yield from ((words[i], words[total - i]) for i in range(max(0, total - len(words) + 1), min(total + 1, len(words))))


def make(size: int, control: int) -> Vocabulary:
    """A vocabulary of `size` tokens, the last `control` (at least 2) of which are control tokens."""
    plain = byte_tokens()
    merges = []
    pairs = _merges()
    while len(plain) < size - control:
        left, right = next(pairs)
        merges.append(f"{left} {right}")
        plain.append(left + right)
    names = ["<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_{i}|>" for i in range(control - 2))]
    types = [NORMAL] * len(plain) + [CONTROL] * control
    return Vocabulary(plain + names, types, merges, bos=len(plain), eos=len(plain) + 1)
