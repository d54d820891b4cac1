"""Malformed model directories: `cases.jsonl` of the corpus says what is wrong, and what a compiler should answer."""

import time

import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.load import open_model
from tests.hostile.test_corpus import CASES, CORPUS, names_the_culprit

DIRECTORIES = [case for case in CASES if not case["name"].endswith(".gguf")]


@pytest.mark.parametrize("case", DIRECTORIES, ids=lambda case: case["name"])
def test_answers_as_it_should(case: dict[str, str]) -> None:
    start = time.monotonic()
    try:
        open_model(CORPUS / case["name"])
    except LlmcError as e:
        assert isinstance(e, MalformedFileError | UnsupportedModelError), e
        assert case["verdict"] != "accept", e
        assert names_the_culprit(case, str(e)), e
    else:
        assert case["verdict"] != "refuse", case["wrong"]
    assert time.monotonic() - start < 2
