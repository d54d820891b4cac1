"""What is done to a text before it is cut into words: a list of steps, compiled to tables.

A `Replace` changes code points one by one, whatever stands beside them. Composition is two steps more: marks are put in canonical
order, then pairs are composed (Unicode Standard Annex 15). runtime/src/tokenizer_normalize.c runs the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmc.frontend import unicode_mappings
from llmc.frontend.tokenizer_charsmap import Charsmap
from llmc.frontend.unicode_data import MAX_CODE_POINT

PAGE = 256  # code points per row of a map
REPLACED = 1 << 31
MAX_BYTES = 127  # of what one code point becomes
STEP_WORDS = 6
MAX_POOL = 1 << 24


@dataclass(frozen=True)
class Replace:
    """texts: code point -> what it becomes, at most 127 bytes, perhaps nothing; others stay as they are."""

    texts: Mapping[int, str]


@dataclass(frozen=True)
class Decompose:
    """Canonical decomposition (NFD), or by `compatible` the compatible one (NFKD), marks in canonical order."""

    compatible: bool = False


@dataclass(frozen=True)
class Compose:
    """Canonical composition of what was decomposed."""


@dataclass(frozen=True)
class Prepend:
    """`text` before a text that is not empty.

    unless_there: not where the text begins with it; first: only to what begins the text, not to what follows a special token;
    not_to_blanks: not to spaces alone.
    """

    text: str
    unless_there: bool = False
    first: bool = False
    not_to_blanks: bool = False


@dataclass(frozen=True)
class Literal:
    """Every `text`, from left to right, becomes `by`."""

    text: str
    by: str


@dataclass(frozen=True)
class Strip:
    """Blanks (White_Space) at the ends of a text are left out, or spaces alone."""

    left: bool
    right: bool
    spaces: bool = False


@dataclass(frozen=True)
class Squeeze:
    """Runs of two or more of the ASCII character `character` become `by`."""

    character: str
    by: str


@dataclass(frozen=True, eq=False)
class Rewrite:
    """What a charsmap has a text for becomes that text, from left to right, each time the longest sequence.

    by_cluster: as the `tokenizers` package does: for a user-perceived character (UAX 29) of less than 6 bytes stands what its
    shortest beginning becomes, and code points of others are looked up alone.
    """

    charsmap: Charsmap
    by_cluster: bool = False


Step = Replace | Decompose | Compose | Prepend | Literal | Strip | Squeeze | Rewrite
KINDS = {Replace: 1, Decompose: 2, Compose: 3, Prepend: 4, Literal: 5, Strip: 6, Squeeze: 7, Rewrite: 8}


@dataclass
class Tables:
    """steps u32 [n, 6]: kind, then numbers; pages u16 [maps, 0x1100], entries u32 [rows, 256] and texts u8 are what maps point
    into; pairs u32 [n, 3]: first, second, composed, ascending; units u32 [n] and rewritten u8: the charsmap.

    An entry is 0 for a code point that stays; else REPLACED, 7 bits of size and 24 bits of where in `texts`. The second map of a
    Decompose has combining classes as its entries.
    """

    steps: npt.NDArray[np.uint32]
    pages: npt.NDArray[np.uint16]
    entries: npt.NDArray[np.uint32]
    texts: npt.NDArray[np.uint8]
    pairs: npt.NDArray[np.uint32]
    units: npt.NDArray[np.uint32]
    rewritten: npt.NDArray[np.uint8]


def compile_steps(steps: Sequence[Step]) -> Tables:
    """The tables of a list of steps, of which one at most is a Rewrite."""
    made = _Maker()
    rows = [made.step(step) for step in steps]
    composed = sorted((*pair, c) for pair, c in unicode_mappings.compositions().items()) if Compose() in steps else []
    return Tables(
        np.array([row + [0] * (STEP_WORDS - len(row)) for row in rows], np.uint32).reshape(-1, STEP_WORDS),
        np.array(made.pages, np.uint16).reshape(-1),
        np.array([entry for row in made.rows for entry in row], np.uint32),
        np.frombuffer(bytes(made.pool), np.uint8),
        np.array(composed, np.uint32).reshape(-1, 3),
        made.charsmap.units,
        np.frombuffer(made.charsmap.texts, np.uint8),
    )


class _Maker:
    """Collects maps and texts; equal rows and equal texts are stored once."""

    def __init__(self) -> None:
        self.pages: list[list[int]] = []
        self.rows: dict[tuple[int, ...], int] = {}
        self.pool = bytearray()
        self.places: dict[bytes, int] = {}
        self.charsmap = Charsmap(np.zeros(0, np.uint32), b"")

    def step(self, step: Step) -> list[int]:
        kind = KINDS[type(step)]
        match step:
            case Replace(texts):
                return [kind, self.map({c: self.entry(text) for c, text in texts.items()})]
            case Decompose(compatible):
                texts = unicode_mappings.decompositions(compatible)
                entries = {c: self.entry(text) for c, text in texts.items()}
                return [kind, self.map(entries), self.map(unicode_mappings.combining_classes())]
            case Compose():
                return [kind, self.map(unicode_mappings.combining_classes())]
            case Prepend(text, unless_there, first, not_to_blanks):
                return [kind, *self.place(text), unless_there | first << 1 | not_to_blanks << 2]
            case Literal(text, by):
                return [kind, *self.place(text), *self.place(by)]
            case Strip(left, right, spaces):
                return [kind, left, right, spaces]
            case Squeeze(character, by):
                return [kind, ord(character), *self.place(by)]
            case Rewrite(charsmap, by_cluster):
                self.charsmap = charsmap
                return [kind, by_cluster, self.map(unicode_mappings.clusters() if by_cluster else {})]

    def map(self, entries: Mapping[int, int]) -> int:
        """The number of a map."""
        by_page: dict[int, list[int]] = {}
        for c, entry in entries.items():
            by_page.setdefault(c // PAGE, [0] * PAGE)[c % PAGE] = entry
        empty = (0,) * PAGE
        count = (MAX_CODE_POINT + 1) // PAGE
        pages = [self.rows.setdefault(tuple(by_page.get(page, empty)), len(self.rows)) for page in range(count)]
        if pages not in self.pages:
            self.pages.append(pages)
        return self.pages.index(pages)

    def entry(self, text: str) -> int:
        at, size = self.place(text)
        assert size <= MAX_BYTES, text
        return REPLACED | size << 24 | at

    def place(self, text: str) -> tuple[int, int]:
        """Where the bytes of a text lie in the pool, and how many there are."""
        data = text.encode()
        if data not in self.places:
            self.places[data] = len(self.pool)
            self.pool += data
        assert len(self.pool) < MAX_POOL
        return self.places[data], len(data)


def chain(maps: Iterable[Mapping[int, str]]) -> Replace:
    """One Replace that does what several maps do one after the other."""
    *first, last = maps
    if not first:
        return Replace(last)
    before = chain(first).texts
    through = {c: "".join(last.get(ord(x), x) for x in text) for c, text in before.items()}
    return Replace({c: text for c, text in ({**last, **through}).items() if text != chr(c)})


def lower() -> Mapping[int, str]:
    return unicode_mappings.lower_case()


def nonspacing() -> frozenset[int]:
    """The marks that stripping accents takes away from what was decomposed."""
    return unicode_mappings.members(unicode_mappings.minor("N"))
