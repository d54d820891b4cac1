"""Malformed model directories: `cases.jsonl` of the corpus says what is wrong, and what a compiler should answer."""

import json
import time

import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.load import open_model
from tests.hostile.test_corpus import CASES, CORPUS, names_the_culprit

DIRECTORIES = [case for case in CASES if not case["name"].endswith(".gguf")]
QUANTISED = ("gptq", "awq")  # not compiled yet: refused for it, whatever else is wrong


def is_quantised(case: dict[str, str]) -> bool:
    config = CORPUS / case["name"] / "config.json"
    return case["name"].split("_")[-1] in QUANTISED or (
        case["category"] in QUANTISED and "quantization_config" in json.loads(config.read_text())
    )


@pytest.mark.parametrize("case", DIRECTORIES, ids=lambda case: case["name"])
def test_answers_as_it_should(case: dict[str, str]) -> None:
    start = time.monotonic()
    verdict = "refuse" if is_quantised(case) else case["verdict"]
    try:
        open_model(CORPUS / case["name"])
    except LlmcError as e:
        assert isinstance(e, MalformedFileError | UnsupportedModelError), e
        assert verdict != "accept", e
        assert "quantization_config" in str(e) if is_quantised(case) else names_the_culprit(case, str(e)), e
    else:
        assert verdict != "refuse", case["wrong"]
    assert time.monotonic() - start < 2
