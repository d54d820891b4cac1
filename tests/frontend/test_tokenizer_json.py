"""tokenizer.json compiled, against the `tokenizers` package; tokenizer.model against the same model in a GGUF file; refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Package

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.tokenizer import ALPHABET, compile_vocabulary
from llmc.frontend.tokenizer_huggingface import UNUSED_TEXT, chat_template, read_huggingface_vocabulary
from llmc.frontend.tokenizer_json import GPT2, REGEXES
from llmc.frontend.tokenizer_vocabulary import Attribute, Vocabulary
from tests.tokenizer_c import ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL, Tokenizer, compiled

SIZE = 320
MERGES = [
    ["h", "e"],
    ["l", "l"],
    ["he", "ll"],
    ["Ġ", "t"],
    ["Ġt", "he"],
    ["Ġ", "Ġ"],
    ["ĠĠ", "Ġ"],
    ["1", "2"],
    ["Ã", "©"],
    ["Ċ", "Ċ"],
]
ADDED = [
    {"id": 266, "content": "<|end|>", "special": True}, {"id": 267, "content": "<tool>", "special": False},
    {"id": 268, "content": "<|l|>", "special": True, "lstrip": True},
    {"id": 269, "content": "<|r|>", "special": True, "rstrip": True},
]  # fmt: skip
TEXTS = [
    "", " ", "hello the  the   the", "it's It'S 'ſ don'T we'LL", "x1234567 12 ١٢٣ ½", "\r\n \n\n  a\t b\u3000c\u00a0d",
    "naïve é e\u0301 ÉCOLE", "日本語テスト。中文，字", "👍🏽 <|end|>x<tool> <|l|> y <|r|>  z<|en", "$%^~ +=<>|`", "a" * 300,
    "\u200b\ufeff\x00\x7f", "हिन्दी ภาษาไทย", "don’t “quote”…", "ﬁ Ａ１ ǅ ʰ", "\U000e0001\U0010ffff",
]  # fmt: skip


def content(**changes: Any) -> dict[str, Any]:
    """A small byte-level tokenizer.json."""
    texts = [*ALPHABET, *("".join(pair) for pair in MERGES)]
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": {text: i for i, text in enumerate(texts)},
        "merges": MERGES,
    }  # fmt: skip
    added = [{"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, **token} for token in ADDED]
    pre = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": pre,
        "post_processor": None, "decoder": {**pre, "add_prefix_space": True}, "model": model,
    }  # fmt: skip
    for path, value in changes.items():
        place: dict[str, Any] = whole
        *parents, last = path.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    return whole


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*steps: dict[str, Any], use_regex: bool = False) -> dict[str, Any]:
    last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "Sequence", "pretokenizers": [*steps, last]}


def template(before: str = "", after: str = "") -> dict[str, Any]:
    ids = {"<|end|>": 266, "<tool>": 267}
    sides = [[{"SpecialToken": {"id": name, "type_id": 0}}] if name else [] for name in (before, after)]
    tokens = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (before, after) if name}
    single = [*sides[0], {"Sequence": {"id": "A", "type_id": 0}}, *sides[1]]
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens}


def write(folder: Path, tokenizer: dict[str, Any], **config: Any) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def vocabulary(folder: Path, tokenizer: dict[str, Any] | None = None, **config: Any) -> Vocabulary:
    return read_huggingface_vocabulary(write(folder, tokenizer or content(), **config), SIZE)


def both(folder: Path, size: int) -> tuple[Tokenizer, Package]:
    ours = Tokenizer(compile_vocabulary(read_huggingface_vocabulary(folder, size)))
    return ours, Package.from_file(str(folder / "tokenizer.json"))


def same(ours: Tokenizer, theirs: Package, text: str) -> None:
    ids = theirs.encode(text).ids
    assert ours.encode(text, ADD_SPECIAL | PARSE_SPECIAL) == ids, text
    shown = theirs.decode(ids, skip_special_tokens=False)
    assert ours.decode(ids, SHOW_SPECIAL).decode(errors="replace") == shown, text


PRE_TOKENIZERS = {
    "prefixed": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "gpt2": sequence(use_regex=True),
    "digits": sequence({"type": "Digits", "individual_digits": True}, use_regex=True),
    "digit runs": sequence({"type": "Digits", "individual_digits": False}, use_regex=True),
    "removed": sequence(split(GPT2, "Removed", True)),
    "deepseek": sequence(*(split(regex) for regex in (r"\p{N}{1,3}", [*REGEXES][-1], [*REGEXES][3]))),
    **{f"split {i}": sequence(split(regex)) for i, regex in enumerate(REGEXES) if len(regex) > 40},
}


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_every_regex_cuts_as_the_package_does(tmp_path: Path, name: str, ignore_merges: bool) -> None:
    changes = {"pre_tokenizer": PRE_TOKENIZERS[name], "model__ignore_merges": ignore_merges}
    ours, theirs = both(write(tmp_path, content(**changes)), SIZE)
    for text in [*TEXTS, "".join(TEXTS)]:
        same(ours, theirs, text)


# Tokens that strip are left to TEXTS: the runtime strips ASCII blanks, the package all of Unicode's.
CHARACTERS = st.one_of(
    st.sampled_from([*" \n\r\t'sStTreVlLmMdDaZ19½²٣._,-~$^<|>éÉſʰ中あ한👍\u0301\u3000\u200d", "<|end|>", "<tool>", "'ll"]),
    st.characters(exclude_categories=["Cs", "Cn"]),
)


@pytest.fixture(scope="module", params=["split 0", "split 1", "gpt2", "deepseek"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Package]:
    folder = tmp_path_factory.mktemp("tokenizer")
    return both(write(folder, content(pre_tokenizer=PRE_TOKENIZERS[request.param])), SIZE)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(CHARACTERS, max_size=30))
def test_any_text_is_cut_as_the_package_does(pair: tuple[Tokenizer, Package], parts: list[str]) -> None:
    same(*pair, "".join(parts))


@pytest.mark.parametrize(("fixture", "size"), [("open/llama", 512), ("open/qwen2", 512), ("pydocs", 4096)])
def test_real_files_tokenize_as_the_package_does(shared: Path, fixture: str, size: int) -> None:
    ours, theirs = both(shared / "models" / fixture / "hf", size)
    prose = (shared / "models" / "pydocs" / "val.txt").read_text()[:20000]
    for text in [*TEXTS, prose, "<|begin_of_text|>def f():\n    return 1<|end_of_text|>"]:
        same(ours, theirs, text)


def test_tokens_around_a_text_are_the_post_processors(tmp_path: Path) -> None:
    ours, theirs = both(write(tmp_path, content(post_processor=template("<|end|>", "<tool>"))), SIZE)
    same(ours, theirs, "the")
    assert ours.encode("the") == theirs.encode("the", add_special_tokens=False).ids
    found = vocabulary(tmp_path, content(post_processor=template("<|end|>")))
    assert (found.add_bos, found.add_eos, found.roles["bos"]) == (True, False, 266)


def test_ids_without_a_token_are_unused(tmp_path: Path) -> None:
    found = vocabulary(tmp_path)
    assert len(found.texts) == SIZE and found.texts[300] == UNUSED_TEXT.format(300)
    assert found.attributes[300] == Attribute.UNUSED and found.attributes[267] == Attribute.USER_DEFINED
    assert Tokenizer(compile_vocabulary(found)).decode([300]) == b""


def test_roles_and_ends_come_from_the_files_beside(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [266, 10], "bos_token_id": 5}))
    found = vocabulary(tmp_path, eos_token={"content": "<|end|>"}, pad_token="a")
    assert found.roles == {"bos": 5, "eos": 266, "pad": ALPHABET.index("a")}
    assert [i for i in range(SIZE) if found.attributes[i] & Attribute.END_OF_GENERATION] == [10, 266]


def test_pre_overrides_a_regex_that_is_not_known(tmp_path: Path) -> None:
    write(tmp_path, content(pre_tokenizer=sequence(split("foo|bar"))))
    with pytest.raises(UnsupportedModelError, match="--pre"):
        read_huggingface_vocabulary(tmp_path, SIZE)
    assert read_huggingface_vocabulary(tmp_path, SIZE, "qwen2").pre is not None
    with pytest.raises(UnsupportedModelError, match="quux"):
        read_huggingface_vocabulary(tmp_path, SIZE, "quux")


UNSUPPORTED: dict[str, Any] = {
    "Lowercase": {"normalizer": {"type": "Lowercase"}},
    "WordLevel": {"model__type": "WordLevel"},
    "byte_fallback": {"model__byte_fallback": True},
    "dropout": {"model__dropout": 0.1},
    "Whitespace": {"pre_tokenizer": sequence({"type": "Whitespace"})},
    "Metaspace": {"pre_tokenizer": {"type": "Metaspace"}},
    "nothing": {"pre_tokenizer": None},
    "puts a space": {"pre_tokenizer": sequence(split(GPT2)) | {"pretokenizers": [split(GPT2), {"type": "ByteLevel"}]}},
    "behavior Removed": {"pre_tokenizer": sequence(split(GPT2, "Removed"))},
    "WordLevelProcessing": {"post_processor": {"type": "WordLevelProcessing"}},
    "single_word": {"added_tokens": [{**ADDED[0], "single_word": True}]},
    "overlap": {"added_tokens": [{"id": 266, "content": "ab"}, {"id": 267, "content": "bcd"}]},
    "of 256 bytes": {"model__vocab": {"a": 0}, "model__merges": []},
}
MALFORMED: dict[str, Any] = {
    "model is": {"model": []},
    "model.vocab gives": {"model__vocab": {"a": -1}},
    "twice": {"model__vocab": {"a": 1, "b": 1}},
    "no two parts": {"model__merges": ["a b c"]},
    "no token": {"model__merges": [["a", "z"]]},
    "a pair twice": {"model__merges": [["h", "e"], ["h", "e"]]},
    "added token": {"added_tokens": [{"id": 266}]},
    "is token": {"added_tokens": [{"id": 266, "content": "a"}]},
    "surrogate": {"added_tokens": [{"id": 266, "content": "\ud800"}]},
    "has token 999": {"added_tokens": [{"id": 999, "content": "<x>"}]},
    "the text 0 times": {"post_processor": {**template(), "single": []}},
    "no special token": {"post_processor": {**template("<|end|>"), "special_tokens": {}}},
    "lstrip": {"added_tokens": [{**ADDED[0], "lstrip": 1}]},
    "pre_tokenizer is": {"pre_tokenizer": 5},
}


@pytest.mark.parametrize("word", UNSUPPORTED)
def test_what_cannot_be_compiled_is_named(tmp_path: Path, word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        vocabulary(tmp_path, content(**UNSUPPORTED[word]))


@pytest.mark.parametrize("word", MALFORMED)
def test_what_contradicts_itself_is_named(tmp_path: Path, word: str) -> None:
    with pytest.raises(MalformedFileError, match=word):
        vocabulary(tmp_path, content(**MALFORMED[word]))


def test_a_chat_template_is_carried(tmp_path: Path) -> None:
    folder = write(
        tmp_path, content(), chat_template=[{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    )
    assert chat_template(folder) == "d"
    (folder / "chat_template.jinja").write_text("j")
    assert chat_template(folder) == "j"
    (folder / "chat_template.jinja").write_text("j" * (1 << 20) + "j")
    with pytest.raises(MalformedFileError, match=r"chat_template\.jinja"):
        chat_template(folder)


# ---- tokenizer.model


@pytest.fixture
def sentencepiece(shared: Path, tmp_path: Path) -> Callable[[bytes], Path]:
    """Makes a directory that holds the Mistral fixture's tokenizer with another tokenizer.model."""

    def make(model: bytes) -> Path:
        shutil.copy(shared / "models" / "open" / "mistral" / "hf" / "tokenizer_config.json", tmp_path / "tokenizer_config.json")
        (tmp_path / "tokenizer.model").write_bytes(model)
        return tmp_path

    return make


def test_sentencepiece_is_the_gguf_files_tokenizer(shared: Path) -> None:
    folder = shared / "models" / "open" / "mistral"
    ours = Tokenizer(compile_vocabulary(read_huggingface_vocabulary(folder / "hf", 512)))
    theirs = Tokenizer(compiled(folder / "model.gguf"))
    for text in TEXTS:
        ids = ours.encode(text, ADD_SPECIAL)
        assert ids == theirs.encode(text, ADD_SPECIAL) and ours.decode(ids) == theirs.decode(ids), text
    assert [ours.token(role) for role in range(5)] == [theirs.token(role) for role in range(5)]


def test_a_damaged_tokenizer_model_is_refused_or_harmless(shared: Path, sentencepiece: Callable[[bytes], Path]) -> None:
    sound = (shared / "models" / "open" / "mistral" / "hf" / "tokenizer.model").read_bytes()
    damaged = [sound[:size] for size in range(0, len(sound), 211)]
    damaged += [sound[:at] + bytes([sound[at] ^ flip]) + sound[at + 1 :] for at in range(3, len(sound), 97) for flip in (1, 0x80)]
    refused = 0
    for content_ in damaged:
        try:
            compile_vocabulary(read_huggingface_vocabulary(sentencepiece(content_ or b"\0"), 512))
        except LlmcError as e:
            assert e.exit_code in (3, 4)
            refused += 1
    assert refused > len(damaged) // 3


@pytest.mark.parametrize(
    ("tail", "word"),
    [
        (b"\x12\x02\x18\x03", "word"),
        (b"\x12\x05\x18\x02\xc0\x01\x01", "treat_whitespace_as_suffix"),
        (b"\x1a\x02\x28\x00", "escape_whitespaces"),
    ],
)
def test_models_of_other_kinds_are_refused(shared: Path, sentencepiece: Callable[[bytes], Path], tail: bytes, word: str) -> None:
    sound = (shared / "models" / "open" / "mistral" / "hf" / "tokenizer.model").read_bytes()
    with pytest.raises(UnsupportedModelError, match=word):
        read_huggingface_vocabulary(sentencepiece(sound + tail), 512)
