"""The regex parser: what it reads, and that it refuses everything else by position."""

import pytest

from llmc.frontend.tokenizer_regex import (
    Chars,
    Choice,
    Look,
    RegexError,
    Repeat,
    Sequence,
    complement,
    intersection,
    parse,
    union,
)
from llmc.frontend.unicode_data import MAX_CODE_POINT, WHITE_SPACE


def one(char: str) -> Chars:
    return Chars(((ord(char), ord(char)),))


def test_reads_literals_choices_and_repetitions() -> None:
    assert parse("ab|c?") == Choice((Sequence((one("a"), one("b"))), Repeat(one("c"), 0, 1)))
    assert parse("a{2,}b{3}") == Sequence((Repeat(one("a"), 2, None), Repeat(one("b"), 3, 3)))
    assert parse("(?:ab)*") == Repeat(Sequence((one("a"), one("b"))), 0, None)


def test_reads_sets() -> None:
    assert parse(r"[a-c\-z]") == Chars(((0x2D, 0x2D), (0x61, 0x63), (0x7A, 0x7A)))
    assert parse(r"[^\s]") == Chars(complement(WHITE_SPACE))
    assert parse(r"[a-z&&[^c-x]]") == Chars(((0x61, 0x62), (0x79, 0x7A)))
    assert parse(r"[(|)]") == Chars(((0x28, 0x29), (0x7C, 0x7C)))


def test_reads_lookahead_of_one_character() -> None:
    assert parse(r"a(?!\S)") == Sequence((one("a"), Look(complement(WHITE_SPACE), True)))
    assert parse(r"(?=b)") == Look(((0x62, 0x62),), False)


def test_ignores_case_only_inside_the_group_and_only_in_ascii() -> None:
    assert parse("(?i:s)t") == Sequence((Chars(((0x53, 0x53), (0x73, 0x73))), one("t")))
    long_s = ord("ſ")
    (group,) = [parse("(?i:s)")]
    assert isinstance(group, Chars) and not any(low <= long_s <= high for low, high in group.ranges)


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "a)",
        "[a",
        "a**",
        "a+?",
        "a++",
        "*",
        "^a",
        "a$",
        ".",
        r"\b",
        r"\pL",
        r"\p{Lu}",
        "a{2",
        "a{3,2}",
        "a{99999}",
        "(?<x>a)",
        "(?=ab)",
    ]
    + ["a{,3}", "[z-a]", "(" * 60 + ")" * 60, "[" * 60, "\\"],
)
def test_refuses_what_is_outside_the_subset(pattern: str) -> None:
    with pytest.raises(RegexError, match=" at "):
        parse(pattern)


def test_set_operations_agree_with_python_sets() -> None:
    a, b = ((0, 3), (10, 20)), ((2, 12), (20, 30))
    as_set = lambda ranges: {c for low, high in ranges for c in range(low, high + 1)}  # noqa: E731
    assert as_set(union(a, b)) == as_set(a) | as_set(b)
    assert as_set(intersection(a, b)) == as_set(a) & as_set(b)
    assert complement(complement(a)) == a
    assert complement(()) == ((0, MAX_CODE_POINT),)
    assert complement(((0, MAX_CODE_POINT),)) == ()
