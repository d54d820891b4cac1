"""Pre-tokenizing with the `regex` module, which backtracks: the oracle of the automata, in Python and in C."""

import random

import regex

from llmc.frontend.pretokenize import PreTokenizer

# Letters of several scripts and cases, digits beyond ASCII, marks, blanks, symbols, an unassigned code point and a surrogate.
LETTERS = "aAbsStTdDmMrReEvVlLzZIMG" + "éßЖж中日가あアﬀǅªⅷ²٣߀" + "́ا़" + " \t\n\r\x0b\x85\xa0\u2003\u2028\u3000"
LETTERS += "''’.,!?…。،-_/\\~^$+<=>|`()[]{}:0123456789" + "😀€©®\u0378\ud800\U0010ffff\x00\x1c"
WORDS = (
    "'s",
    "'LL",
    "'re",
    " don't",
    "<sentinel:12>",
    "IMGIMGABCZ",
    "   ",
    "\r\n",
    " \n ",
    "123456",
    "HelloWorld",
    "über",
    "１２３",
)


def random_text(chance: random.Random) -> str:
    """A few of the characters and words above, some of them several times."""
    parts = chance.choices([*LETTERS, *WORDS], k=chance.randrange(12))
    return "".join(part * chance.choice((1, 1, 1, 2, 5)) for part in parts)


def pieces(text: str, found: list[tuple[int, int]]) -> list[str]:
    """Matches and what lies between them."""
    edges = [0, *(edge for span in found for edge in span), len(text)]
    return [text[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


def cut_by_regex(row: PreTokenizer, text: str) -> list[str]:
    parts = [text]
    for number, pattern in enumerate(row.patterns):
        # The module's \s includes 0x1C to 0x1F, and in V1 it folds more than ASCII: say what we mean.
        meant = regex.compile(pattern.replace(r"\s", r"\p{White_Space}").replace(r"\S", r"\P{White_Space}"), regex.V1)
        found = [(part, [m.span() for m in meant.finditer(part)]) for part in parts]
        cut = threes if row.triples and number == 0 else list
        parts = [piece for part, spans in found for piece in pieces(part, cut(spans))]
    return parts


def threes(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every span in threes, from its end; the first three begin where the span before ends."""
    before = [0, *(end for _, end in spans)]
    whole = [(start, end, first) for (start, end), first in zip(spans, before, strict=False)]
    return [
        (first if at <= start else at, at + 3)
        for start, end, first in whole
        for at in range(end - (end - start + 2) // 3 * 3, end, 3)
    ]
