"""Unicode mappings against the running Python's `unicodedata`, where that knows the characters."""

import unicodedata

import pytest

from llmc.frontend import unicode_mappings as mappings

KNOWN = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


@pytest.mark.parametrize(("compatible", "form"), [(False, "NFD"), (True, "NFKD")])
def test_decompositions_are_unicodes(compatible: bool, form: str) -> None:
    texts = mappings.decompositions(compatible)
    newer = mappings.members(mappings.minor("U"))
    for c in KNOWN:
        if c not in mappings.HANGUL and c not in newer:
            assert texts.get(c, chr(c)) == unicodedata.normalize(form, chr(c)), hex(c)


def test_nothing_is_said_of_unassigned_characters() -> None:
    newer = mappings.members(mappings.minor("U"))
    for table in (mappings.decompositions(True), mappings.combining_classes(), mappings.lower_case()):
        assert not newer & table.keys()


def test_the_counts_are_those_of_unicode_15_1() -> None:
    sizes = [len(mappings.decompositions(False)), len(mappings.decompositions(True)), len(mappings.compositions())]
    assert sizes == [2061, 5857, 941] and len(mappings.combining_classes()) == 922
    assert len(mappings.lower_case()) == 1433
