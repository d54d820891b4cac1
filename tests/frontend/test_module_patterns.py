"""Patterns over module names: as `re` where it is quick, and quick where it is not."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.errors import UnsupportedModelError
from llmc.frontend.module_patterns import matches

NAMES = ("model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head", "model.layers.3.mlp.experts.7.w1", "")
PATTERNS = (
    r".*\.q_proj$", r"model\.layers\.(0|11)\..*", r"lm_head", r"^model", r".*layers\.[0-9]+\.mlp.*", r".*\.(?:down|up)_proj",
    r"(?!.*experts).*mlp.*", r"(?=model).*", r"model\.layers\.\d{2}\.", r"model\.layers\.\d{2,}", r"[^m].*", r".+?proj", r"",
    r"(?P<x>m)odel", r"(a|b)*", r"(model|lm)(\.|_)\w+", r"model.layers.{1,3}\.mlp", r"[a-c\-.]*", r"x|lm", r"(?:l?m?)*_",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_they_match_what_re_matches(pattern: str) -> None:
    for name in NAMES:
        assert matches(pattern, name) == (re.match(pattern, name) is not None), name


@pytest.mark.filterwarnings("ignore::FutureWarning")  # that a set may nest one day
@given(st.text(alphabet="ab.*+?|()[]^$\\d-{1,2}", max_size=12), st.text(alphabet="ab.1-", max_size=8))
def test_any_pattern_matches_as_re_does_or_is_refused(pattern: str, name: str) -> None:
    try:
        theirs = re.match(pattern, name) is not None
        ours = matches(pattern, name)
    except (UnsupportedModelError, re.error):
        return
    assert ours == theirs


SLOW = ("(a+)+b", "(a*)*b", "(a|a)*b", ".*.*.*.*.*.*.*.*b", "((((a*)*)*)*)*b", "(a{1,999}){1,999}b", "(((){999}){999}){999}b")
OUTSIDE = ("(", ")", "a**", "[a", "(?i)a", "(?<=a)b", r"\1", r"(a)\1", "*", "a{2,1}", "a" * 5000, "(" * 99)


@pytest.mark.parametrize("pattern", SLOW)
def test_no_pattern_takes_long(pattern: str) -> None:
    begun = time.monotonic()
    try:
        assert not matches(pattern, "a" * 500)
    except UnsupportedModelError as e:
        assert "too long" in str(e)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("pattern", OUTSIDE)
def test_what_is_outside_the_subset_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedModelError, match="pattern"):
        matches(pattern, "a")
