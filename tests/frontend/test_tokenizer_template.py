"""Two texts as one, against the tokenizers package, and from GGUF keys."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.tokenizer import compile_vocabulary
from llmc.frontend.tokenizer_huggingface import read_huggingface_vocabulary
from llmc.frontend.tokenizer_template import pair_template
from llmc.runtime.vocabulary import Tokenizer
from tests.frontend.test_tokenizer_json_wordpiece import PIECES, content

tokenizers = pytest.importorskip("tokenizers")

TEXTS = [("abc do", "not a, b"), ("", "e"), ("[SEP] ab", ""), ("c" * 200, "x")]


def special(name: str, segment: int = 0) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": segment}}


def text(name: str, segment: int = 0) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": segment}}


def template(*pair: dict[str, Any]) -> dict[str, Any]:
    tokens = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in (("[CLS]", 2), ("[SEP]", 3))}
    return {"type": "TemplateProcessing", "single": [special("[CLS]"), text("A")], "pair": [*pair], "special_tokens": tokens}


BERT = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
ROBERTA = {**BERT, "type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False}
PROCESSORS = {
    "bert": BERT,
    "roberta": ROBERTA,
    "template": template(special("[CLS]"), text("A"), special("[SEP]"), special("[SEP]"), text("B", 1), special("[SEP]", 1)),
    "second first": template(text("B"), special("[SEP]"), text("A", 1)),
}


def tokenizer(folder: Path, processor: Any) -> Tokenizer:
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text(json.dumps({**content(), "post_processor": processor}))
    return Tokenizer.from_blob(compile_vocabulary(read_huggingface_vocabulary(folder, len(PIECES))))


@pytest.mark.parametrize("name", PROCESSORS)
def test_two_texts_are_put_together_as_the_package_does(name: str, tmp_path: Path) -> None:
    ours, theirs = tokenizer(tmp_path, PROCESSORS[name]), tokenizers.Tokenizer.from_str(
        json.dumps({**content(), "post_processor": PROCESSORS[name]}))  # fmt: skip
    for pair in TEXTS:
        wanted = theirs.encode(*(part.replace("[SEP]", "") for part in pair))
        ids, segments = ours.tokenize_pair(*(part.replace("[SEP]", "") for part in pair))
        assert (ids, segments) == (wanted.ids, wanted.type_ids)


def test_a_text_from_strangers_spells_no_control_token_unless_asked(tmp_path: Path) -> None:
    ours = tokenizer(tmp_path, BERT)
    assert ours.tokenize_pair("[SEP]", "a")[0].count(3) == 2
    assert ours.tokenize_pair("[SEP]", "a", parse_special=True)[0].count(3) == 3


def test_a_tokenizer_of_single_texts_refuses_two(tmp_path: Path) -> None:
    ours = tokenizer(tmp_path, template(special("[CLS]"), text("A")))
    with pytest.raises(LlmcError, match="template for two texts"):
        ours.tokenize_pair("a", "b")


@pytest.mark.parametrize(("processor", "error", "says"), [
    (template(text("A"), text("A"), text("B")), MalformedFileError, "each text once"),
    (template(text("A"), text("C")), UnsupportedModelError, "'C'|C"),
    (template(text("A"), text("B", -1)), MalformedFileError, "type_id"),
    (template(text("A"), text("B"), special("[MASK]")), MalformedFileError, "no special token"),
    ({**template(text("A"), text("B")), "pair": "A B"}, MalformedFileError, "pair"),
    (template(*[text("A"), text("B")] * 40), MalformedFileError, "64"),
    ({**BERT, "sep": ["[SEP]", 9999]}, MalformedFileError, "9999"),
])  # fmt: skip
def test_refuses_by_name(processor: dict[str, Any], error: type[LlmcError], says: str) -> None:
    with pytest.raises(error, match=says):
        pair_template(processor, range(len(PIECES)))
