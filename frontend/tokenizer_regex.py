r"""The regexes of pre-tokenizers, parsed to a small syntax tree.

The subset: literals, `\p{L}` and the other major categories, `\s \S \d \r \n \t`, sets with ranges, negation and intersection
(`[\p{L}&&[^a-z]]`), groups, `(?i:...)`, `|`, greedy `? * + {m} {m,n}`, and a lookahead of one character `(?=set)`, `(?!set)`.
`\s` is Unicode's White_Space, `\d` is ASCII, and case is ignored for ASCII letters only: what llama.cpp's tokenizers mean by
them.
"""

from dataclasses import dataclass

from llmc.frontend.unicode_data import MAX_CODE_POINT, WHITE_SPACE, Ranges, category

MAX_DEPTH = 50
MAX_REPEAT = 1024


class RegexError(ValueError):
    """A pattern outside the subset."""


@dataclass(frozen=True)
class Chars:
    """One code point out of `ranges`."""

    ranges: Ranges


@dataclass(frozen=True)
class Look:
    """Nothing, where the next code point is in `ranges` (or is not, or the text ends, if `negative`)."""

    ranges: Ranges
    negative: bool


@dataclass(frozen=True)
class Sequence:
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """The first option that lets the rest match, as in Perl."""

    options: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """`low` to `high` times, as often as possible; without bound if `high` is None."""

    body: "Node"
    low: int
    high: int | None


Node = Chars | Look | Sequence | Choice | Repeat


def union(*sets: Ranges) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(r for ranges in sets for r in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(ranges: Ranges) -> Ranges:
    starts = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), MAX_CODE_POINT]
    return tuple((low, high) for low, high in zip(starts, ends, strict=True) if low <= high)


def intersection(a: Ranges, b: Ranges) -> Ranges:
    return complement(union(complement(a), complement(b)))


def fold_ascii_case(ranges: Ranges) -> Ranges:
    """`ranges` and the other case of every ASCII letter in it."""
    letters = union(((0x41, 0x5A), (0x61, 0x7A)))
    swapped = (((low ^ 0x20), (low ^ 0x20)) for a, b in intersection(ranges, letters) for low in range(a, b + 1))
    return union(ranges, tuple(swapped))


CLASSES: dict[str, Ranges] = {
    "s": WHITE_SPACE,
    "S": complement(WHITE_SPACE),
    "d": ((0x30, 0x39),),
    "r": ((0x0D, 0x0D),),
    "n": ((0x0A, 0x0A),),
    "t": ((0x09, 0x09),),
}


def parse(pattern: str) -> Node:
    """The syntax tree of a pattern. Raises RegexError, with the position, for what is outside the subset."""
    parser = _Parser(pattern)
    node = parser.choice(depth=0)
    if parser.at < len(pattern):
        raise parser.error("unbalanced )")
    return node


class _Parser:
    """Recursive descent; `at` is the position of the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.ignore_case = False

    def error(self, what: str) -> RegexError:
        return RegexError(f"{what} at {self.at} in {self.pattern!r}")

    def take(self, text: str) -> bool:
        """Steps over `text` if it comes next."""
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def next(self) -> str:
        if self.at >= len(self.pattern):
            raise self.error("unexpected end")
        self.at += 1
        return self.pattern[self.at - 1]

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.error(f"missing {text}")

    def choice(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error("groups nested too deep")
        options = [self.sequence(depth)]
        while self.take("|"):
            options.append(self.sequence(depth))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            parts.append(self.repeat(self.atom(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def atom(self, depth: int) -> Node:
        if self.take("(?=") or self.take("(?!"):
            return self.look(self.pattern[self.at - 1] == "!")
        if self.take("(?i:"):
            return self.folded_group(depth)
        if self.take("(?:") or self.take("("):
            return self.group(depth)
        if self.pattern[self.at] in "?*+{}^$.":
            raise self.error("unsupported syntax")
        return Chars(self.folded(self.char_set()))

    def look(self, negative: bool) -> Look:
        ranges = self.folded(self.char_set())
        self.expect(")")
        return Look(ranges, negative)

    def group(self, depth: int) -> Node:
        if self.pattern.startswith("?", self.at):
            raise self.error("unsupported group")
        body = self.choice(depth + 1)
        self.expect(")")
        return body

    def folded_group(self, depth: int) -> Node:
        outer, self.ignore_case = self.ignore_case, True
        body = self.group(depth)
        self.ignore_case = outer
        return body

    def folded(self, ranges: Ranges) -> Ranges:
        return fold_ascii_case(ranges) if self.ignore_case else ranges

    def repeat(self, body: Node) -> Node:
        bounds = {"?": (0, 1), "*": (0, None), "+": (1, None)}
        for sign, (low, high) in bounds.items():
            if self.take(sign):
                return self.repeated(body, low, high)
        if not self.take("{"):
            return body
        low, high = self.number(), None
        if not self.take(","):
            high = low
        elif not self.pattern.startswith("}", self.at):
            high = self.number()
        self.expect("}")
        return self.repeated(body, low, high)

    def repeated(self, body: Node, low: int, high: int | None) -> Repeat:
        if self.at < len(self.pattern) and self.pattern[self.at] in "?+*{":
            raise self.error("lazy, possessive or doubled repetition")
        if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
            raise self.error("bad repetition count")
        return Repeat(body, low, high)

    def number(self) -> int:
        start = self.at
        while self.at < len(self.pattern) and self.pattern[self.at] in "0123456789":
            self.at += 1
        if not 0 < self.at - start < 6:
            raise self.error("bad number")
        return int(self.pattern[start : self.at])

    def char_set(self) -> Ranges:
        """A set in brackets, an escape, or one literal character."""
        if self.take("["):
            return self.bracket(0)
        char = self.next()
        return self.escape() if char == "\\" else ((ord(char), ord(char)),)

    def escape(self) -> Ranges:
        char = self.next()
        if char == "p":
            return self.property()
        if char in CLASSES:
            return CLASSES[char]
        if char.isalnum():
            raise self.error(f"unsupported escape \\{char}")
        return ((ord(char), ord(char)),)

    def property(self) -> Ranges:
        self.expect("{")
        name = self.next()
        self.expect("}")
        if name not in "LMNPS":
            raise self.error(f"unsupported category {name}")
        return category(name)

    def bracket(self, depth: int) -> Ranges:
        """What follows `[`, up to and with its `]`."""
        if depth > MAX_DEPTH:
            raise self.error("sets nested too deep")
        negative = self.take("^")
        sets: list[Ranges] = []
        both: Ranges | None = None
        while not self.take("]"):
            if self.take("&&"):
                both = self.meet(both, union(*sets))
                sets = []
            elif self.take("["):
                sets.append(self.bracket(depth + 1))
            else:
                sets.append(self.bracket_item())
        ranges = self.meet(both, union(*sets))
        return complement(ranges) if negative else ranges

    @staticmethod
    def meet(both: Ranges | None, ranges: Ranges) -> Ranges:
        return ranges if both is None else intersection(both, ranges)

    def bracket_item(self) -> Ranges:
        low = self.char_set()
        if not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
            return low
        self.expect("-")
        high = self.char_set()
        if not (len(low) == len(high) == 1 and low[0][0] == low[0][1] <= high[0][0] == high[0][1]):
            raise self.error("bad range")
        return ((low[0][0], high[0][0]),)
