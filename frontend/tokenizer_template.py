"""How two texts are put into one: the pair of tokenizer.json's post_processor, and what GGUF files say in its place.

Reference: https://github.com/huggingface/tokenizers, tokenizers/src/processors/{bert,roberta,template}.rs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.tokenizer_json_fields import NAME, member, named_id, sequence, special_ids
from llmc.frontend.tokenizer_vocabulary import FIRST, SECOND, PairTemplate, Vocabulary

TEXTS: Final = {"A": FIRST, "B": SECOND}
MAX_ENTRIES: Final = 64
MAX_SEGMENT: Final = 255


def pair_template(post_processor: Any, tokens: Collection[int]) -> PairTemplate:
    """The template, empty where there is none. tokens: the ids there are. Raises MalformedFileError or UnsupportedModelError."""
    parts = [part for part in sequence(post_processor, "processors", "post_processor") if part["type"] != "ByteLevel"]
    if len(parts) != 1:
        return ()
    kind = parts[0]["type"]
    if kind in ("BertProcessing", "RobertaProcessing"):
        cls, sep = named_id(parts[0], "cls"), named_id(parts[0], "sep")
        roberta = ((cls, 0), (FIRST, 0), (sep, 0), (sep, 0), (SECOND, 0), (sep, 0))
        return _checked(bert_pair(cls, sep) if kind == "BertProcessing" else roberta, tokens)
    return _checked(_of_template(parts[0]), tokens) if kind == "TemplateProcessing" else ()


def huggingface_pair(content: Mapping[str, Any], vocabulary: Vocabulary) -> PairTemplate:
    """Of a directory, whose tokenizer.json may be missing: WordPiece then does as BERT."""
    processor, roles = content.get("post_processor"), vocabulary.roles
    if vocabulary.kind == "wordpiece" and processor is None and {"bos", "sep"} <= roles.keys():
        return bert_pair(roles["bos"], roles["sep"])
    return pair_template(processor, range(len(vocabulary.texts)))


def gguf_pair(checkpoint: Checkpoint, vocabulary: Vocabulary) -> PairTemplate:
    """BERT's vocabularies as BERT has it, others as llama.cpp puts a query and a document before a reranker."""
    roles = vocabulary.roles
    if vocabulary.kind == "wordpiece":
        return bert_pair(roles["bos"], roles["sep"])
    adds = {"bos": vocabulary.add_bos, "eos": vocabulary.add_eos, "sep": checkpoint.flag("tokenizer.ggml.add_sep_token", False)}
    bos, eos, sep = ([(roles[role], 0)] if adds[role] and role in roles else [] for role in ("bos", "eos", "sep"))
    return (*bos, (FIRST, 0), *eos, *sep, (SECOND, 0), *eos) if eos or sep else ()


def bert_pair(cls: int, sep: int) -> PairTemplate:
    """[CLS] text [SEP] pair [SEP], the pair and what ends it in a segment of its own."""
    return (cls, 0), (FIRST, 0), (sep, 0), (SECOND, 1), (sep, 1)


def _of_template(part: Mapping[str, Any]) -> PairTemplate:
    items = part.get("pair")
    if not isinstance(items, list) or len(items) > MAX_ENTRIES:
        raise MalformedFileError(f"{NAME}: post_processor.pair is no array of at most {MAX_ENTRIES} items")
    specials = member(part, "special_tokens")
    found = [entry for item in items for entry in _entries(item, specials)]
    if sorted(what for what, _ in found if what < 0) != [FIRST, SECOND] or len(found) > MAX_ENTRIES:
        if not [what for what, _ in found if what == SECOND]:
            return ()  # a tokenizer of single texts
        raise MalformedFileError(f"{NAME}: post_processor.pair does not hold each text once")
    return tuple(found)


def _entries(item: Any, specials: Mapping[str, Any]) -> list[tuple[int, int]]:
    """What one item of a template adds: a text, or the ids of a special token."""
    text = item.get("Sequence") if isinstance(item, dict) else None
    inner = text if text is not None else item.get("SpecialToken") if isinstance(item, dict) else None
    segment = inner.get("type_id") if isinstance(inner, dict) else None
    if isinstance(segment, bool) or not isinstance(segment, int) or not 0 <= segment <= MAX_SEGMENT:
        what = f"{NAME}: post_processor.pair holds {quoted(str(item))}"
        raise MalformedFileError(f"{what}, which has no type_id from 0 to {MAX_SEGMENT}")
    if text is None:
        return [(i, segment) for i in special_ids(item, specials)]
    if text.get("id") not in TEXTS:
        raise UnsupportedModelError(f"{NAME}: post_processor.pair holds the text {quoted(str(text.get('id')))}")
    return [(TEXTS[text["id"]], segment)]


def _checked(template: PairTemplate, tokens: Collection[int]) -> PairTemplate:
    for what, _ in template:
        if what >= 0 and what not in tokens:
            raise MalformedFileError(f"{NAME}: post_processor adds token {what}, which does not exist")
    return template
