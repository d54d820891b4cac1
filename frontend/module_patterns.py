r"""Patterns by which quantised checkpoints name modules, matched in bounded time: a checkpoint is hostile input, and `re` is not
bounded (`(a+)+b` takes hours).

The subset of Python's syntax that such patterns use: literals and escapes, `.`, `\d \w \s` and their complements, sets with
ranges, groups, `|`, greedy and lazy `? * + {m} {m,} {m,n}`, `^`, `$` and lookahead. A matcher maps the set of positions where a
part may begin to the set where it may end, so that nothing is tried twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from llmc.errors import UnsupportedModelError
from llmc.frontend.checkpoint import quoted

MAX_PATTERN: Final = 4096
MAX_DEPTH: Final = 32
MAX_REPEAT: Final = 1000
MAX_STEPS: Final = 1 << 20  # positions looked at in one match

Positions = frozenset[int]
Test = Callable[[str], bool]

_CLASSES: Final[dict[str, Test]] = {
    "d": str.isdecimal, "w": lambda c: c.isalnum() or c == "_", "s": str.isspace,
    "D": lambda c: not c.isdecimal(), "W": lambda c: not (c.isalnum() or c == "_"), "S": lambda c: not c.isspace(),
}  # fmt: skip
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r"}
_BOUNDS: Final = re.compile(r"\{([0-9]{1,6})(,([0-9]{1,6})?)?\}")
_NAMED: Final = re.compile(r"P<[A-Za-z_][A-Za-z0-9_]*>")


class _Text:
    """A name being matched, and how much work that has been."""

    def __init__(self, text: str) -> None:
        self.text, self.steps = text, 0

    def spend(self, positions: int) -> None:
        self.steps += positions + 1
        if self.steps > MAX_STEPS:
            raise _error("takes too long to match")


Matcher = Callable[[_Text, Positions], Positions]


def matches(pattern: str, name: str) -> bool:
    """Whether `pattern` matches at the start of `name`, as `re.match` does.

    Raises UnsupportedModelError, quoting the pattern, for what is outside the subset or takes too long.
    """
    try:
        return bool(_compiled(pattern)(_Text(name), frozenset({0})))
    except _PatternError as e:
        raise UnsupportedModelError(f"pattern {quoted(pattern)} {e}, so llmc cannot tell which modules it names") from None


class _PatternError(ValueError):
    pass


def _error(why: str) -> _PatternError:
    return _PatternError(why)


@cache
def _compiled(pattern: str) -> Matcher:
    if len(pattern) > MAX_PATTERN:
        raise _error(f"is longer than {MAX_PATTERN} characters")
    parser = _Parser(pattern)
    matcher = parser.choice(0)
    if parser.at < len(pattern):
        raise _error("has an unbalanced )")
    return matcher


def _one(test: Test) -> Matcher:
    """One character."""

    def match(t: _Text, at: Positions) -> Positions:
        t.spend(len(at))
        return frozenset(i + 1 for i in at if i < len(t.text) and test(t.text[i]))

    return match


def _many(test: Test) -> Matcher:
    """Any number of characters."""

    def match(t: _Text, at: Positions) -> Positions:
        t.spend(len(t.text))
        found = set(at)
        for i in range(min(at, default=0), len(t.text)):
            if i in found and test(t.text[i]):
                found.add(i + 1)
        return frozenset(found)

    return match


def _sequence(parts: list[Matcher]) -> Matcher:
    def match(t: _Text, at: Positions) -> Positions:
        for part in parts:
            at = part(t, at) if at else at
        return at

    return match


def _repeat(part: Matcher, low: int, high: int | None) -> Matcher:
    def match(t: _Text, at: Positions) -> Positions:
        for _ in range(low):
            t.spend(len(at))
            at = part(t, at)
        found = at
        for _ in range(len(t.text) + 1 if high is None else high - low):
            at = part(t, at) - found
            t.spend(len(at))
            if not at:
                break
            found |= at
        return found

    return match


def _look(part: Matcher, negative: bool) -> Matcher:
    return lambda t, at: frozenset(i for i in at if bool(part(t, frozenset({i}))) != negative)


class _Parser:
    """Recursive descent; `at` is the position of the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def next(self) -> str:
        if not self.peek():
            raise _error("ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def choice(self, depth: int) -> Matcher:
        if depth > MAX_DEPTH:
            raise _error(f"nests groups deeper than {MAX_DEPTH}")
        options = [self.sequence(depth)]
        while self.take("|"):
            options.append(self.sequence(depth))
        if len(options) == 1:
            return options[0]
        return lambda t, at: frozenset().union(*(option(t, at) for option in options))

    def sequence(self, depth: int) -> Matcher:
        parts: list[Matcher] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated(depth))
        return _sequence(parts)

    def repeated(self, depth: int) -> Matcher:
        atom = self.atom(depth)
        part = _one(atom) if not isinstance(atom, tuple) else atom[0]
        bounds = self.bounds()
        if bounds is None:
            return part
        self.take("?")  # lazy: which names match is the same
        if self.peek() in ("*", "+", "?") and self.peek():
            raise _error("repeats a repetition")
        if bounds == (0, None) and not isinstance(atom, tuple):
            return _many(atom)
        if bounds == (1, None) and not isinstance(atom, tuple):
            return _sequence([part, _many(atom)])
        return _repeat(part, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self.take(sign):
                return bounds
        found = _BOUNDS.match(self.pattern, self.at)
        if found is None:
            return None
        self.at = found.end()
        low = int(found[1])
        high = low if found[2] is None else int(found[3]) if found[3] else None
        if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
            raise _error(f"repeats {found[0]} times")
        return low, high

    def atom(self, depth: int) -> Test | tuple[Matcher]:
        """A test of one character, or a matcher of anything else."""
        c = self.next()
        if c == "(":
            return (self.group(depth),)
        if c == "[":
            return self.set()
        if c == "^":
            return (lambda t, at: at & {0},)
        if c == "$":
            return (lambda t, at: at & {len(t.text)},)
        if c == ".":
            return lambda x: x != "\n"
        if c == "\\":
            return self.escape()
        if c in "*+?{":
            raise _error(f"repeats nothing with {c}")
        return lambda x: x == c

    def group(self, depth: int) -> Matcher:
        kind = ""
        if self.take("?"):
            kind = next((k for k in (":", "=", "!") if self.take(k)), "")
            named = _NAMED.match(self.pattern, self.at)
            if not kind and named is None:
                raise _error(f"has a group (?{self.peek()}, which llmc does not match")
            self.at = named.end() if named and not kind else self.at
        inside = self.choice(depth + 1)
        if self.next() != ")":
            raise _error("has a group without an end")
        return _look(inside, kind == "!") if kind in ("=", "!") else inside

    def escape(self) -> Test:
        c = self.next()
        if c in _CLASSES:
            return _CLASSES[c]
        if c.isalnum() and c not in _CONTROLS:
            raise _error(f"has the escape \\{c}, which llmc does not match")
        literal = _CONTROLS.get(c, c)
        return lambda x: x == literal

    def set(self) -> Test:
        negative = self.take("^")
        tests: list[Test] = []
        while not tests or self.peek() != "]":
            tests.append(self.member())
        self.at += 1
        return lambda x: any(test(x) for test in tests) != negative

    def member(self) -> Test:
        """A character, class or range of a set."""
        c = self.next()
        if c == "\\":
            return self.escape()
        if self.peek() != "-" or self.pattern[self.at + 1 : self.at + 2] in ("]", ""):
            return lambda x: x == c
        self.at += 1
        last = self.next()
        if last == "\\" or last < c:
            raise _error(f"has the range {c}-{last}")
        return lambda x: c <= x <= last
