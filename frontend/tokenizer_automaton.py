r"""Pre-tokenizer regexes as table-driven automata with the regexes' own, leftmost-first semantics.

A pattern becomes a Thompson program, the program a deterministic machine that reads classes of code points. A state of the
machine is the ordered list of program places a backtracking matcher would still try, best first; places of lower priority than
a finished match are dropped, so the last match seen is the one backtracking would return. Matches are reported one symbol late:
whether a match ends before a symbol is known when that symbol (or the end of the text) is read. That makes lookahead by one
character, and with it `\s+(?!\S)`, exact without ever stepping back. Thompson, CACM 11(6), 1968; Pike's priorities as in Cox,
"Regular Expression Matching: the Virtual Machine Approach", 2009.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llmc.frontend.tokenizer_regex import Chars, Choice, Look, Node, RegexError, Repeat, Sequence, parse
from llmc.frontend.unicode_data import MAX_CODE_POINT, Ranges

MAX_STATES = 1 << 14
MAX_CLASSES = 254
MAX_PROGRAM = 1 << 16
PAGE = 256  # code points per page of the class table
DEAD, START = 0, 1
MATCH_BIT = 1 << 15


@dataclass(frozen=True)
class Alphabet:
    """Classes of code points that no set of the patterns tells apart.

    pages u16 [0x1100]: row of `classes` for each run of 256 code points; classes u8 [rows, 256]; size: number of classes. The end
    of the text is one symbol more, number `size`. members[class] is the set of indices of the sets it lies in.
    """

    pages: npt.NDArray[np.uint16]
    classes: npt.NDArray[np.uint8]
    size: int
    sets: dict[Ranges, int]
    members: tuple[frozenset[int], ...]


def alphabet(sets: Iterable[Ranges]) -> Alphabet:
    """The coarsest alphabet that keeps every one of `sets` exact."""
    index = {ranges: i for i, ranges in enumerate(dict.fromkeys(sets))}
    edges: dict[int, list[int]] = {0: []}  # code point -> sets that begin or end there
    for ranges, i in index.items():
        for low, high in ranges:
            edges.setdefault(low, []).append(i)
            edges.setdefault(high + 1, []).append(i)
    numbers: dict[frozenset[int], int] = {}
    inside: set[int] = set()
    starts = sorted(edges)
    runs = []
    for start in starts:
        inside.symmetric_difference_update(edges[start])
        runs.append(numbers.setdefault(frozenset(inside), len(numbers)))
    # The set of places past the last code point may be a class of its own; it costs nothing.
    if len(numbers) > MAX_CLASSES:
        raise RegexError(f"{len(numbers)} character classes, more than {MAX_CLASSES}")
    sizes = np.diff([*(min(s, MAX_CODE_POINT + 1) for s in starts), MAX_CODE_POINT + 1])
    pages, classes = _two_stages(np.repeat(np.array(runs, np.uint8), sizes))
    return Alphabet(pages, classes, len(numbers), index, tuple(numbers))


def _two_stages(table: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """(pages, classes) with classes[pages[c // PAGE], c % PAGE] == table[c]; equal pages are stored once."""
    rows = [row.tobytes() for row in table.reshape(-1, PAGE)]
    distinct = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    classes = np.frombuffer(b"".join(distinct), np.uint8).reshape(-1, PAGE)
    return np.array([distinct[row] for row in rows], np.uint16), classes


@dataclass(frozen=True)
class Jump:
    """Go on at the places in `to`, the first one with the highest priority."""

    to: tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """The pattern has matched."""


Instruction = Chars | Look | Jump | Match
NOWHERE = Jump(())  # until its places are known


@dataclass
class Program:
    """Instructions and the compiler of a syntax tree to them."""

    code: list["Instruction"] = field(default_factory=list)

    def emit(self, instruction: "Instruction") -> int:
        if len(self.code) >= MAX_PROGRAM:
            raise RegexError("the pattern is too large")
        self.code.append(instruction)
        return len(self.code) - 1

    def add(self, node: Node) -> None:
        """Appends the code of `node`; it goes on at the next instruction."""
        match node:
            case Chars() | Look():
                self.emit(node)
            case Sequence(parts):
                for part in parts:
                    self.add(part)
            case Choice(options):
                self.add_choice(options)
            case Repeat(body, low, high):
                for _ in range(low):
                    self.add(body)
                self.add_star(body) if high is None else self.add_optional(body, high - low)

    def add_choice(self, options: tuple[Node, ...]) -> None:
        exits = []
        for option in options[:-1]:
            split = self.emit(NOWHERE)
            self.add(option)
            exits.append(self.emit(NOWHERE))
            self.code[split] = Jump((split + 1, len(self.code)))
        self.add(options[-1])
        for place in exits:
            self.code[place] = Jump((len(self.code),))

    def add_star(self, body: Node) -> None:
        if can_be_empty(body):
            raise RegexError("repetition of what may be empty")
        split = self.emit(NOWHERE)
        self.add(body)
        self.emit(Jump((split,)))
        self.code[split] = Jump((split + 1, len(self.code)))

    def add_optional(self, body: Node, times: int) -> None:
        splits = []
        for _ in range(times):
            splits.append(self.emit(NOWHERE))
            self.add(body)
        for split in splits:
            self.code[split] = Jump((split + 1, len(self.code)))


def can_be_empty(node: Node) -> bool:
    """Whether a match of `node` may consume nothing."""
    match node:
        case Chars():
            return False
        case Look():
            return True
        case Sequence(parts):
            return all(map(can_be_empty, parts))
        case Choice(options):
            return any(map(can_be_empty, options))
        case Repeat(body, low, _):
            return low == 0 or can_be_empty(body)


def sets_of(node: Node) -> list[Ranges]:
    """Every set of code points a pattern asks about."""
    match node:
        case Chars(ranges) | Look(ranges, _):
            return [ranges]
        case Sequence(parts) | Choice(parts):
            return [ranges for part in parts for ranges in sets_of(part)]
        case Repeat(body, _, _):
            return sets_of(body)


def compile_patterns(patterns: Iterable[str]) -> tuple[Alphabet, list[npt.NDArray[np.uint16]]]:
    """One alphabet for all patterns and a machine each: u16 [states, alphabet.size + 1].

    An entry is the next state (0: no match can come any more), plus MATCH_BIT where a match ends before the symbol just read. The
    machine begins in state 1. Raises RegexError; also for a pattern that matches the empty string.
    """
    nodes = [parse(pattern) for pattern in patterns]
    if any(map(can_be_empty, nodes)):
        raise RegexError("a pattern that matches the empty string")
    letters = alphabet(ranges for node in nodes for ranges in sets_of(node))
    return letters, [_determinise(node, letters) for node in nodes]


def _determinise(node: Node, letters: Alphabet) -> npt.NDArray[np.uint16]:
    program = Program()
    program.add(node)
    program.emit(Match())
    machine = _Machine(program.code, letters)
    numbers: dict[tuple[int, ...], int] = {(): DEAD, (0,): START}
    rows: list[list[int]] = [[DEAD] * (letters.size + 1)]
    states = [(), (0,)]
    while len(rows) < len(states):
        row = []
        for symbol in range(letters.size + 1):
            places, matched = machine.step(states[len(rows)], symbol)
            if places not in numbers:
                numbers[places] = len(states)
                states.append(places)
            row.append(numbers[places] | (MATCH_BIT if matched else 0))
        rows.append(row)
        if len(states) > MAX_STATES:
            raise RegexError(f"more than {MAX_STATES} states")
    return np.array(rows, np.uint16)


class _Machine:
    """The ordered-threads simulation of a program, one symbol at a time."""

    def __init__(self, code: list[Instruction], letters: Alphabet) -> None:
        self.code = code
        self.inside = {ranges: [number in sets for sets in letters.members] for ranges, number in letters.sets.items()}
        for inside in self.inside.values():
            inside.append(False)  # the end of the text is in no set

    def step(self, places: tuple[int, ...], symbol: int) -> tuple[tuple[int, ...], bool]:
        """(places after `symbol`, whether a match ends before it), from places in order of priority."""
        after: dict[int, None] = {}
        seen: set[int] = set()
        stack = list(reversed(places))
        while stack:
            at = stack.pop()
            if at in seen:
                continue
            seen.add(at)
            match self.code[at]:
                case Match():
                    return tuple(after), True  # what is left has lower priority than a finished match
                case Jump(to):
                    stack.extend(reversed(to))
                case Look(ranges, negative):
                    if self.inside[ranges][symbol] != negative:
                        stack.append(at + 1)
                case Chars(ranges):
                    if self.inside[ranges][symbol]:
                        after.setdefault(at + 1)
        return tuple(after), False
