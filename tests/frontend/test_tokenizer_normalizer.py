"""Normal forms in C against Python's own, and against the tokenizers package where a tokenizer.json asks for one."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.frontend import unicode_mappings
from llmc.frontend.tokenizer import compile_vocabulary
from llmc.frontend.tokenizer_json import NORMAL_FORMS
from tests.frontend.test_tokenizer_json import content, vocabulary
from tests.tokenizer_c import Tokenizer

FORMS = sorted(NORMAL_FORMS)
NEWER = unicode_mappings.members(unicode_mappings.minor("U"))
KNOWN = [c for c in range(0x20, 0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co") and c not in NEWER]
MARKS = [c for c in KNOWN if unicodedata.combining(chr(c))]
LETTERS = "aeoAEOqs가각각ʼngạ̈ﬁﷺé한"
TEXT = st.text(st.sampled_from([*LETTERS, *map(chr, MARKS), *map(chr, KNOWN[::53])]), max_size=24)


@pytest.fixture(scope="module", params=FORMS)
def normal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("normal")
    given = content(normalizer={"type": request.param})
    return request.param, Tokenizer(compile_vocabulary(vocabulary(folder, given)))


@settings(max_examples=500, deadline=None)
@given(text=TEXT)
def test_a_normal_form_is_pythons(normal: tuple[str, Tokenizer], text: str) -> None:
    form, tokenizer = normal
    wanted = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    assert tokenizer.decode(tokenizer.encode(text)).decode() == wanted


def test_every_character_is_normalised_as_python_has_it(normal: tuple[str, Tokenizer]) -> None:
    form, tokenizer = normal
    for start in range(0, len(KNOWN), 4096):
        texts = [f"x{chr(c)}" for c in KNOWN[start : start + 4096]]
        wanted = "".join(unicodedata.normalize(form, text) for text in texts)  # type: ignore[arg-type]
        assert tokenizer.decode(tokenizer.encode("".join(texts))).decode() == wanted


def test_equals_the_package_where_a_file_asks_for_nfc(tmp_path: Path) -> None:
    package = pytest.importorskip("tokenizers")
    given = content(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]})
    tokenizer = Tokenizer(compile_vocabulary(vocabulary(tmp_path, given)))
    theirs = package.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("e\u0301te\u0301", "a\u0323\u0308\u0301", "\u1100\u1161\u11a8", "plain", "\u212b \u00c5 A\u030a"):
        assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False).ids
