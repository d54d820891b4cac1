"""The category table against the interpreter's own, older or newer, Unicode data."""

import unicodedata

from llmc.frontend.unicode_data import MAX_CODE_POINT, RUNS, WHITE_SPACE, category, encode


def test_agrees_with_python_on_what_both_know() -> None:
    ours = {major: {c for low, high in category(major) for c in range(low, high + 1)} for major in "LMNPS"}
    known = set().union(*ours.values())
    differing = [
        c
        for c in known
        if (theirs := unicodedata.category(chr(c))) != "Cn" and c not in ours.get(theirs[0], ())
    ]  # fmt: skip
    assert len(differing) <= 8, [hex(c) for c in differing]  # a few characters change their category between versions


def test_covers_every_code_point_once() -> None:
    covered = sum(high - low + 1 for major in "LMNPSO" for low, high in category(major))
    assert covered == MAX_CODE_POINT + 1


def test_encodes_what_it_decodes() -> None:
    table = {c: major for major in "LMNPS" for low, high in category(major) for c in range(low, high + 1)}
    assert encode(lambda char: table.get(ord(char), "Cn")) == RUNS


def test_white_space_is_what_python_strips_but_for_the_separators_of_ascii() -> None:
    spaces = {c for low, high in WHITE_SPACE for c in range(low, high + 1)}
    assert {c for c in range(MAX_CODE_POINT + 1) if chr(c).isspace()} - spaces == {0x1C, 0x1D, 0x1E, 0x1F}
