"""The automata against the `regex` module, which backtracks, on random strings; and their own limits."""

import random
from dataclasses import replace

import numpy as np
import pytest

from llmc.frontend.pretokenize import PRE_TOKENIZERS, PreTokenizer
from llmc.frontend.tokenizer_automaton import DEAD, MATCH_BIT, PAGE, START, Alphabet, compile_patterns
from llmc.frontend.tokenizer_regex import RegexError
from tests.pretokenize_reference import cut_by_regex, pieces, random_text


def matches(alphabet: Alphabet, machine: np.ndarray, text: str, start: int) -> int:
    """Where the match that begins at `start` ends; `start` if there is none. The obvious way to run a machine."""
    state, end = START, start
    for at in range(start, len(text) + 1):
        code = ord(text[at]) if at < len(text) else -1
        symbol = int(alphabet.classes[alphabet.pages[code // PAGE], code % PAGE]) if code >= 0 else alphabet.size
        entry = int(machine[state, symbol])
        if entry & MATCH_BIT:
            end = at
        state = entry & ~MATCH_BIT
        if state == DEAD:
            break
    return end


def cut_by_automata(compiled: tuple[Alphabet, list[np.ndarray]], text: str) -> list[str]:
    alphabet, machines = compiled
    parts = [text]
    for machine in machines:
        cut = []
        for part in parts:
            found, at = [], 0
            while at < len(part):
                end = matches(alphabet, machine, part, at)
                found += [(at, end)] if end > at else []
                at = max(end, at + 1)
            cut += pieces(part, found)
        parts = cut
    return parts


@pytest.mark.parametrize("row", PRE_TOKENIZERS, ids=lambda row: row.names[0])
def test_cuts_as_the_regex_does(row: PreTokenizer) -> None:
    compiled = compile_patterns(row.patterns)
    chance = random.Random(7)
    for _ in range(1500):
        text = random_text(chance)
        assert cut_by_automata(compiled, text) == cut_by_regex(replace(row, triples=False), text), repr(text)


@pytest.mark.parametrize(
    "row", [r for r in PRE_TOKENIZERS if "jais-2" in r.names or "llama-bpe" in r.names], ids=lambda r: r.names[0]
)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1025])
def test_cuts_long_blanks_as_the_regex_does(row: PreTokenizer, count: int) -> None:
    compiled = compile_patterns(row.patterns)
    for text in (" " * count, " " * count + "x", "\t" * count + "\n" + " " * count):
        assert cut_by_automata(compiled, text) == cut_by_regex(row, text)


def test_a_choice_takes_the_first_option_that_matches_not_the_longest() -> None:
    alphabet, [machine] = compile_patterns(["a|ab|abc"])
    assert matches(alphabet, machine, "abc", 0) == 1
    alphabet, [machine] = compile_patterns(["(?:a|ab)c|x"])
    assert matches(alphabet, machine, "abc", 0) == 3


def test_lookahead_sees_the_end_of_the_text() -> None:
    alphabet, [machine] = compile_patterns([r"a+(?!b)"])
    assert [matches(alphabet, machine, text, 0) for text in ("aaa", "aaab", "ab", "aaac")] == [3, 2, 0, 3]
    alphabet, [machine] = compile_patterns([r"a+(?=b)"])
    assert [matches(alphabet, machine, text, 0) for text in ("aaa", "aaab", "ab")] == [0, 3, 1]


@pytest.mark.parametrize("pattern", ["a*", "(?=a)", "(?:a?)*", "a|b?"])
def test_refuses_patterns_that_match_nothing_at_all(pattern: str) -> None:
    with pytest.raises(RegexError, match="empty"):
        compile_patterns([pattern])


def test_refuses_patterns_that_grow_too_large() -> None:
    with pytest.raises(RegexError, match="large"):
        compile_patterns(["(?:a{1000}){1000}"])
    with pytest.raises(RegexError, match="states"):
        compile_patterns(["(?:a|b)*a(?:a|b){20}"])


def test_gives_the_same_tables_again() -> None:
    first, second = (compile_patterns(PRE_TOKENIZERS[0].patterns) for _ in range(2))
    assert first[0].classes.tobytes() == second[0].classes.tobytes()
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))
