"""The tokenizer in C: llama.cpp's goldens, obvious implementations of both algorithms, and what must not happen."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.frontend.pretokenize import PRE_TOKENIZERS, PreTokenizer, by_name
from llmc.frontend.tokenizer import ALPHABET, compile_vocabulary
from llmc.frontend.tokenizer_charsmap import Charsmap
from llmc.frontend.tokenizer_normalizer import Compose, Decompose, Literal, Prepend, Replace, Rewrite, Squeeze, Strip
from llmc.frontend.tokenizer_unigram import Unigram
from llmc.frontend.tokenizer_unigram import steps as unigram_steps
from llmc.frontend.tokenizer_vocabulary import Attribute, Vocabulary
from llmc.frontend.tokenizer_wordpiece import of_gguf
from tests.pretokenize_reference import cut_by_regex, random_text
from tests.tokenizer_c import (
    ADD_SPECIAL,
    ERR_ARG,
    ERR_FORMAT,
    ERR_SPACE,
    OK,
    PARSE_SPECIAL,
    REMOVE_SPECIAL,
    ROOT,
    SHOW_SPECIAL,
    StatusError,
    Tokenizer,
    compile_c,
    compiled,
    library,
    sources,
)  # fmt: skip

NEEDS_GCC = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc, for its instrumentation, is not installed")
VOCABULARIES = ("llama-bpe", "gpt-2", "qwen2", "llama-spm", "phi-3", "bert-bge")
EOS, EOT = 1, 2  # llmc_token_role
STEPS = (Strip(left=True, right=True), Literal(" ", "\u2581"), Prepend("\u2581"), Squeeze("a", "aa"), Replace({98: "b́"}))
NONE, NORMAL, CONTROL = Attribute(0), Attribute.NORMAL, Attribute.CONTROL
USER_DEFINED, UNKNOWN = Attribute.USER_DEFINED, Attribute.UNKNOWN


def open_vocabulary(shared: Path, name: str) -> Tokenizer:
    return Tokenizer(compiled(shared / f"corpora/tokenizer/gguf/ggml-vocab-{name}.gguf"))


def lines(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text(encoding="utf-8").strip().split("\n"))


# ---- Goldens


@pytest.mark.parametrize("name", VOCABULARIES)
def test_equals_llama_cpp_in_ids_and_in_bytes(shared: Path, name: str) -> None:
    tokenizer = open_vocabulary(shared, name)
    for line in lines(shared / f"corpora/tokenizer/{name}.golden.jsonl"):
        text = bytes.fromhex(line["hex"])
        if "throws" in line:
            assert tokenizer.encode(text) == tokenizer.encode("\ufffd" * len(text))
            continue
        for key, ids in line["ids"].items():
            flags = ADD_SPECIAL * (key[0] == "1") + PARSE_SPECIAL * (key[1] == "1")
            assert tokenizer.encode(text, flags) == ids, (line["id"], key)
            assert tokenizer.decode(ids, SHOW_SPECIAL).hex() == line["detok"][key], (line["id"], key)
        ids = line["ids"]["11"]
        plain = tokenizer.decode(ids, REMOVE_SPECIAL)  # where a word was unknown, ours says so
        assert b"[UNK]" in plain or plain.hex() == line["detok11_plain"], line["id"]
        assert b"".join(tokenizer.piece(i, SHOW_SPECIAL) for i in ids).hex() == line["pieces11"], line["id"]


def test_sides_with_llama_cpp_where_others_differ(shared: Path) -> None:
    seen = 0
    for line in lines(shared / "corpora/tokenizer/crosscheck.jsonl"):
        if line["vocab"] in VOCABULARIES:
            assert open_vocabulary(shared, line["vocab"]).encode(line["text"]) == line["llama_cpp"]
            seen += 1
    assert seen


def test_knows_sizes_and_roles_as_llama_cpp_does(shared: Path) -> None:
    for line in lines(shared / "corpora/tokenizer/vocabs.jsonl"):
        if line["vocab"] in VOCABULARIES:
            tokenizer = open_vocabulary(shared, line["vocab"])
            assert tokenizer.size == line["n_tokens"]
            assert [tokenizer.token(role) for role in range(3)] == [line["bos"], line["eos"], line["eot"]]
            assert all(tokenizer.is_end(i) for i in (tokenizer.token(EOS), tokenizer.token(EOT)) if i >= 0)
            assert not tokenizer.is_end(tokenizer.encode("a")[0])


# ---- Obvious implementations


def vocabulary(kind: str, texts: list[str], attributes: list[Attribute] | None = None, **given: Any) -> Vocabulary:
    given = {"add_bos": False, "add_eos": False, "add_space_prefix": False, "clean_spaces": False, "roles": {}} | given
    if kind == "bpe":
        given.setdefault("pre", by_name()["gpt-2"])
    else:
        given.setdefault("scores", np.zeros(len(texts), np.float32))
    return Vocabulary(kind=kind, texts=texts, attributes=np.array(attributes or [NORMAL] * len(texts), np.uint8), **given)


def merge_all(parts: list[str], best: Callable[[str, str], float | None]) -> list[str]:
    """Merges adjacent parts, always the pair with the smallest `best(left, right)`, leftmost first, until it is None for all."""
    while True:
        ranks = [(rank, i) for i in range(len(parts) - 1) if (rank := best(parts[i], parts[i + 1])) is not None]
        if not ranks:
            return parts
        i = min(ranks)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def obvious_bpe(v: Vocabulary, text: str) -> list[int]:
    tokens = {t: i for i, t in enumerate(v.texts)}
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(v.merges)))}
    ids: list[int] = []
    for word in cut_by_regex(v.pre, text):
        spelt = "".join(ALPHABET[b] for b in word.encode("utf-8", "surrogatepass"))
        whole = v.pre.ignore_merges and spelt in tokens
        for part in [spelt] if whole else merge_all(list(spelt), lambda a, b: ranks.get((a, b))):
            ids += [tokens[part]] if part in tokens else [tokens[c] for c in part if c.isascii() and c in tokens]
    return ids


def obvious_spm(v: Vocabulary, text: str) -> list[int]:
    tokens = {t: i for i, t in enumerate(v.texts)}
    scores = {t: -float(v.scores[i]) for t, i in tokens.items()}
    spelt = ("▁" if v.add_space_prefix and text else "") + text.replace(" ", "▁")
    ids: list[int] = []
    for part in merge_all(list(spelt), lambda a, b: scores.get(a + b)):
        unknown = v.roles.get("unknown", 0)
        ids += [tokens[part]] if part in tokens else [tokens.get(f"<0x{b:02X}>", unknown) for b in part.encode()]
    return ids


@pytest.mark.parametrize("seed", range(12))
def test_byte_level_bpe_merges_as_the_obvious_loop_does(seed: int) -> None:
    chance = random.Random(seed)
    letters = [ALPHABET[b] for b in b"ab c" + "é".encode()]
    strings = list(dict.fromkeys("".join(chance.choices(letters, k=chance.randrange(1, 6))) for _ in range(60)))
    known = [ALPHABET[b] for b in range(256) if chance.random() < 0.9 or ALPHABET[b] not in letters]
    texts = list(dict.fromkeys([*known, *chance.sample(strings, len(strings) // 2)]))
    cuts = [(s, chance.randrange(1, len(s))) for s in strings * 2 if len(s) > 1]
    merges = [(s[:i], s[i:]) for s, i in cuts]
    chance.shuffle(merges)
    v = vocabulary("bpe", texts, merges=merges, pre=by_name()[("gpt-2", "llama-bpe", "qwen2")[seed % 3]])
    tokenizer = Tokenizer(compile_vocabulary(v))
    for _ in range(300):
        text = "".join(chance.choices("abc é", k=chance.randrange(25)))
        assert tokenizer.encode(text) == obvious_bpe(v, text), text


@pytest.mark.parametrize("seed", range(12))
def test_sentencepiece_merges_as_the_obvious_loop_does(seed: int) -> None:
    chance = random.Random(seed)
    strings = ["".join(chance.choices("ab▁é", k=chance.randrange(1, 7))) for _ in range(60)]
    texts = list(dict.fromkeys(["<unk>", *(f"<0x{b:02X}>" for b in range(256) if seed % 2 or b != 0x61), *strings]))
    scores = np.array([chance.choice((0.0, -0.0, -1.0, -2.5, 3.0)) for _ in texts], np.float32)
    v = vocabulary("spm", texts, scores=scores, add_space_prefix=bool(seed % 3), roles={"unknown": 0})
    tokenizer = Tokenizer(compile_vocabulary(v))
    for _ in range(300):
        text = "".join(chance.choices("ab é日", k=chance.randrange(25)))
        assert tokenizer.encode(text) == obvious_spm(v, text), text


def obvious_partition(v: Vocabulary, text: str, hidden: bool) -> list[str | int]:
    """Special tokens and the stretches between them: every token, longest first, is looked for in what is still text."""
    special = [i for i, a in enumerate(v.attributes) if a & (CONTROL | UNKNOWN | USER_DEFINED)]
    parts: list[str | int] = [text]
    for i in sorted(special, key=lambda i: -len(v.texts[i].encode())):
        if v.attributes[i] & (CONTROL | UNKNOWN) and not hidden:
            continue
        parts = [piece for part in parts for piece in (_partition_one(v, part, i) if isinstance(part, str) else [part])]
    return parts


def _partition_one(v: Vocabulary, text: str, i: int) -> list[str | int]:
    parts: list[str | int] = []
    while (at := text.find(v.texts[i])) >= 0:
        left, text = text[:at], text[at + len(v.texts[i]) :]
        left = left.rstrip(" \t\n\v\f\r") if i in v.strip_left else left
        text = text.lstrip(" \t\n\v\f\r") if i in v.strip_right else text
        parts += [left, i] if left else [i]
    return [*parts, text] if text else parts


@pytest.mark.parametrize("kind", ["bpe", "spm"])
@pytest.mark.parametrize("seed", range(12))
def test_finds_special_tokens_as_the_obvious_search_does(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    strings = list(dict.fromkeys("".join(chance.choices("<a>", k=chance.randrange(1, 6))) for _ in range(12)))
    strings = list({len(s): s for s in strings}.values()) if seed % 2 else strings
    base = ALPHABET if kind == "bpe" else ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), "▁"]
    strings = [s for s in strings if s not in base]
    attributes = [chance.choice((CONTROL, USER_DEFINED, UNKNOWN, NORMAL | CONTROL, NONE)) for _ in strings]
    ids = range(len(base), len(base) + len(strings))
    strips = {"strip_left": frozenset(i for i in ids if i % 3 == 0), "strip_right": frozenset(i for i in ids if i % 4 == 0)}
    v = vocabulary(kind, [*base, *strings], [NORMAL] * len(base) + attributes, add_space_prefix=kind == "spm", **strips)
    tokenizer, encode = Tokenizer(compile_vocabulary(v)), obvious_bpe if kind == "bpe" else obvious_spm
    for _ in range(300):
        text, hidden = (
            "".join(chance.choices(["<", "a", ">", " ", "\n", *strings], k=chance.randrange(20))),
            chance.random() < 0.5,
        )
        expected: list[int] = []
        after_special = True
        for part in obvious_partition(v, text, hidden):
            prefix = v.add_space_prefix and after_special
            expected += [part] if isinstance(part, int) else encode(replace(v, add_space_prefix=prefix), part)
            after_special = isinstance(part, int)
        assert tokenizer.encode(text, PARSE_SPECIAL * hidden) == expected, text


@pytest.mark.parametrize("row", PRE_TOKENIZERS, ids=lambda row: row.names[0])
def test_cuts_words_as_the_regex_does(row: PreTokenizer) -> None:
    tokenizer = Tokenizer(compile_vocabulary(vocabulary("bpe", ALPHABET, pre=row)))
    chance = random.Random(3)
    for _ in range(300):
        text = random_text(chance)
        words = [word.decode("utf-8", "surrogatepass") for word in tokenizer.words(text.encode("utf-8", "surrogatepass"))]
        assert words == cut_by_regex(row, text), repr(text)


# ---- Properties


@pytest.mark.parametrize("name", ["llama-bpe", "gpt-2", "qwen2"])
def test_valid_text_survives_the_round_trip_byte_for_byte(shared: Path, name: str) -> None:
    tokenizer, chance = open_vocabulary(shared, name), random.Random(11)
    ranges = ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
    for _ in range(300):
        text = "".join(chr(chance.randint(*chance.choice(ranges))) for _ in range(chance.randrange(60))).encode()
        assert b"".join(map(tokenizer.piece, tokenizer.encode(text))) == text


def test_any_bytes_but_spaces_survive_the_round_trip_through_sentencepiece(shared: Path) -> None:
    tokenizer, chance = open_vocabulary(shared, "llama-spm"), random.Random(12)
    for _ in range(300):
        text = chance.randbytes(chance.randrange(60)).replace("▁".encode(), b"").replace(b" ", b"")
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (b"\xc1\x81", b"A"),  # overlong: what it spells
        (b"\xe0\x80\xaf", b"/"),
        (b"\xed\xa0\x80", b"\xed\xa0\x80"),  # a surrogate stays
        (b"\x80", "\ufffd".encode()),
        (b"\xe4\xbd", "\ufffd\ufffd".encode()),  # cut short
        (b"\xe4\xbdA", "\ufffd\ufffdA".encode()),
        (b"\xf8\x88\x80\x80\x80", "\ufffd".encode() * 5),
        (b"\xf4\x90\x80\x80", "\ufffd".encode() * 4),  # beyond the last code point
        (b"\xff\x00\xfe", "\ufffd\0\ufffd".encode()),
    ],
)
def test_byte_level_bpe_repairs_what_is_not_utf_8(given: Any, meant: bytes) -> None:
    tokenizer = Tokenizer(compile_vocabulary(vocabulary("bpe", ALPHABET)))
    assert b"".join(map(tokenizer.piece, tokenizer.encode(given))) == meant
    assert b"".join(map(tokenizer.piece, tokenizer.encode(b"x" + given + b" y"))) == b"x" + meant + b" y"


def test_without_byte_tokens_characters_become_bytes_or_unknown() -> None:
    tokenizer = Tokenizer(compile_vocabulary(vocabulary("spm", ["<unk>", "a", "é"], roles={"unknown": 0})))
    assert tokenizer.encode("aéb日") == [1, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a , b . c ! d ?", "a, b. c! d?"),
        (" ,", ","),
        ("  ..", " .."),
        ("a ' b", "a'b"),
        ("a ' ' b", "a'' b"),
        ("it 's I 'm we 're they 've", "it's I'm we're they've"),
        ("don 't he 'll I 'd a 'r", "don 't he 'll I 'd a 'r"),
        ("", ""),
        (" ", " "),
        ("'", "'"),
        (" '", " '"),
    ],
)
def test_cleans_spaces_as_llama_cpp_does(text: str, cleaned: str) -> None:
    v = vocabulary("bpe", ALPHABET)
    dirty, clean = (Tokenizer(compile_vocabulary(replace(v, clean_spaces=on))) for on in (False, True))
    ids = dirty.encode(text)
    assert (dirty.decode(ids), clean.decode(ids)) == (text.encode(), cleaned.encode())


def test_decoding_leaves_out_what_encoding_added() -> None:
    roles = {"bos": 1, "eos": 2, "unknown": 0}
    attributes = [UNKNOWN, CONTROL, CONTROL, NORMAL, NORMAL]
    v = vocabulary(
        "spm", ["<unk>", "<s>", "</s>", "▁a", "▁"], attributes, add_bos=True, add_eos=True, add_space_prefix=True, roles=roles
    )
    tokenizer = Tokenizer(compile_vocabulary(v))
    ids = tokenizer.encode("a", ADD_SPECIAL)
    assert ids == [1, 3, 2]
    assert tokenizer.decode(ids) == tokenizer.decode(ids, REMOVE_SPECIAL | SHOW_SPECIAL) == b" a"
    assert tokenizer.decode(ids, SHOW_SPECIAL) == b"<s> a</s>"
    assert tokenizer.decode(ids[1:]) == b"a"  # only the very first token loses its space
    assert tokenizer.encode("", ADD_SPECIAL) == [1, 2] and tokenizer.encode("") == []


# ---- Contracts


def test_says_how_much_room_is_needed(shared: Path) -> None:
    tokenizer = open_vocabulary(shared, "gpt-2")
    text = b"Hello , world 's"
    ids = tokenizer.encode(text)
    for room in range(len(ids) + 2):
        status, stored, count = tokenizer.encode_into(text, room)
        assert (status, count) == (OK if room >= len(ids) else ERR_SPACE, len(ids))
        assert stored[: min(room, len(ids))] == ids[:room] and stored[room] == -7
    cleaned = b"Hello, world's"
    for room in range(len(text) + 2):
        status, stored, size = tokenizer.decode_into(ids, room)
        assert (status, size) == (OK if room >= len(cleaned) else ERR_SPACE, len(cleaned))
        assert stored[room] == 0x7F and (status or stored[:size] == cleaned)


def test_refuses_arguments_that_make_no_sense() -> None:
    tokenizer, lib = Tokenizer(compile_vocabulary(vocabulary("bpe", ALPHABET))), library()
    n = np.zeros(1, np.uint64).ctypes.data
    assert lib.llmc_tokenizer_encode(None, b"a", 1, 0, None, 0, n) == ERR_ARG
    assert lib.llmc_tokenizer_encode(tokenizer.handle, None, 1, 0, None, 0, n) == ERR_ARG
    assert lib.llmc_tokenizer_encode(tokenizer.handle, b"a", 1, 0, None, 1, n) == ERR_ARG
    assert lib.llmc_tokenizer_encode(tokenizer.handle, b"a", 1, 0, None, 0, None) == ERR_ARG
    assert lib.llmc_tokenizer_encode(tokenizer.handle, b"a", 1, SHOW_SPECIAL, None, 0, n) == ERR_ARG
    assert lib.llmc_tokenizer_encode(tokenizer.handle, b"a", 2**40, 0, None, 0, n) == ERR_ARG
    assert lib.llmc_tokenizer_decode(None, None, 0, 0, None, 0, n) == ERR_ARG
    assert lib.llmc_tokenizer_decode(tokenizer.handle, None, 1, 0, None, 0, n) == ERR_ARG
    assert lib.llmc_tokenizer_decode(tokenizer.handle, None, 0, ADD_SPECIAL, None, 0, n) == ERR_ARG
    for token in (-1, 256, 2**31 - 1, -(2**31)):
        assert tokenizer.decode_into([65, token], 9)[0] == ERR_ARG
        assert not tokenizer.is_end(token)
        with pytest.raises(StatusError):
            tokenizer.piece(token)
    assert tokenizer.token(-1) == tokenizer.token(7) == -1
    assert lib.llmc_tokenizer_from_memory(None, 0, None, n) == ERR_ARG
    assert lib.llmc_tokenizer_size(None) == 0
    lib.llmc_tokenizer_close(None)


def test_opens_nothing_but_a_whole_blob_of_its_version() -> None:
    blob = compile_vocabulary(vocabulary("bpe", ALPHABET))
    wrong = [blob[:size] for size in (*range(0, 600, 7), len(blob) - 1)]
    wrong += [blob + b"\0", b"X" + blob[1:], blob[:8] + b"\1" + blob[9:], blob[:12] + b"\4" + blob[13:]]
    for bytes_ in wrong:
        with pytest.raises(StatusError) as caught:
            Tokenizer(bytes_)
        assert caught.value.status == ERR_FORMAT
    with pytest.raises(StatusError) as caught:
        Tokenizer(blob, misalign=8)
    assert caught.value.status == ERR_ARG


# ---- Growth and memory

LONG = {
    "letters": b"a", "blanks": b" ", "lines": b"\n", "blank lines": b" \n", "quotes": b"'", "digits": b"7", "words": b"ab cd ",
    "bytes": b"\xff", "openings": b"<|", "specials": b"<s>", "cjk": "日".encode(), "marks": "á́".encode(),
}  # fmt: skip


@NEEDS_GCC
@pytest.mark.parametrize("repeated", LONG.values(), ids=LONG)
@pytest.mark.parametrize("name", ["llama-bpe", "gpt-2", "llama-spm"])
def test_work_grows_with_the_text_and_not_faster(shared: Path, name: str, repeated: bytes) -> None:
    """Counted in basic blocks, so the machine's load does not matter. The heap is n log n: a factor of 2.3 allows for the log."""
    counted = library(["-fsanitize-coverage=trace-pc"])
    tokenizer = Tokenizer(compiled(shared / f"corpora/tokenizer/gguf/ggml-vocab-{name}.gguf"), counted)

    def blocks(size: int) -> int:
        before = counted.llmc_test_blocks()
        tokenizer.encode(repeated * (size // len(repeated)), PARSE_SPECIAL)
        return counted.llmc_test_blocks() - before

    small, large = blocks(32_000), blocks(64_000)
    assert large / small < 2.3 and large / 64_000 < 2000


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = str(ROOT / "tests" / "runtime" / "c" / "tokenizer_fuzz.c")
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return compile_c([*flags, program, *sources()], tmp_path_factory.mktemp("sanitized") / "tokenizer_fuzz")


def charsmap() -> Charsmap:
    """A double-array trie of a few keys, every node at the first offset where its children find room."""
    texts = {b"H": b"h", b"He": b"", "你".encode(): b"ni", b"aa": "\u2581a".encode()}
    pool_ = b"".join(text + b"\0" for text in texts.values())
    places = {key: sum(len(text) + 1 for text in list(texts.values())[:i]) for i, key in enumerate(texts)}
    units, taken, todo = np.zeros(1024, np.uint32), {0}, [(b"", 0)]
    for prefix, at in todo:
        below = sorted({key[len(prefix)] for key in texts if key.startswith(prefix) and len(key) > len(prefix)})
        needed = [*below, *([0] if prefix in texts else [])]
        base = next(base for base in range(1, 768) if not any(base ^ byte in taken for byte in needed))
        units[at] |= np.uint32((base ^ at) << 10 | (prefix in texts) << 8)
        taken |= {base ^ byte for byte in needed}
        if prefix in texts:
            units[base] = np.uint32(1 << 31 | places[prefix])
        for byte in below:
            units[base ^ byte] = byte
            todo.append((prefix + bytes([byte]), base ^ byte))
    return Charsmap(units, pool_)


def test_a_charsmap_rewrites_the_longest_sequences() -> None:
    rewriting = vocabulary("bpe", [*ALPHABET], pre=by_name()["gpt-2"], steps=(Rewrite(charsmap()),))
    tokenizer = Tokenizer(compile_vocabulary(rewriting))
    assert tokenizer.decode(tokenizer.encode("Hello Ha 你好 aaa x")).decode() == "llo ha ni好 \u2581aa x"


def small_vocabularies() -> dict[str, Vocabulary]:
    special = ["<s>", "</s>", "<|endoftext|>"]
    attributes = [CONTROL, CONTROL, USER_DEFINED]
    letters = [NORMAL] * 256
    merges = [("l", "l"), ("H", "e"), ("He", "ll"), ("a", "a"), ("aa", "aa"), ("Ġ", "w"), ("q", "q"), ("a", "b")]
    bpe = {
        "texts": [*ALPHABET, *special, "ll", "aa", "Hello"],
        "attributes": [*letters, *attributes, *letters[:3]],
        "merges": merges,
    }
    roles = {"bos": 256, "eos": 257}
    spm = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), *special, "▁", "▁H", "He", "ll", "▁▁", "aa", "aaaa"]
    pieces = ["[UNK]", "[CLS]", "[SEP]", *(f"▁{c}" for c in "abehlox.<|"), *"abehlox", "▁hello", "ll", "aa"]
    wordpiece = of_gguf(pieces, lowercase=True, strip_accents=True)
    of_pieces = [UNKNOWN, CONTROL, CONTROL, *[NORMAL] * (len(pieces) - 3)]
    scores = np.where(np.arange(len(spm)) > 256, -np.arange(len(spm)) / 8.0, np.nan)
    scores[0] = -99.0
    of_spm = [UNKNOWN, *[Attribute.BYTE] * 256, *attributes, *[NORMAL] * 7]
    return {
        "llama-bpe": vocabulary("bpe", **bpe, pre=by_name()["llama-bpe"], add_bos=True, roles=roles, clean_spaces=True),
        "default": vocabulary("bpe", **bpe, pre=by_name()["default"], strip_left=frozenset([258])),
        "spm": vocabulary("spm", spm, of_spm, add_space_prefix=True, add_eos=True, roles={"eos": 258, "unknown": 0}),
        "wordpiece": vocabulary(
            "wordpiece", pieces, of_pieces, add_bos=True, add_sep=True, roles={"bos": 1, "sep": 2, "unknown": 0},
            wordpiece=wordpiece, steps=wordpiece.steps, clean_spaces=True,
        ),
        "nfkc": vocabulary("bpe", **bpe, pre=by_name()["llama-bpe"], steps=(Decompose(compatible=True), Compose())),
        "steps": vocabulary("bpe", **bpe, pre=by_name()["gpt-2"], steps=STEPS),
        "unigram": vocabulary(
            "unigram", spm, of_spm, add_space_prefix=True, add_eos=True, roles={"eos": 258, "unknown": 0},
            unigram=Unigram(scores, patterns=("\u2581[^\u2581]*|[^\u2581]+",)), steps=unigram_steps(charsmap(), True, True),
        ),
        "clusters": vocabulary(
            "unigram", spm, of_spm, roles={"unknown": 0}, unigram=Unigram(scores, byte_fallback=True),
            steps=(Rewrite(charsmap(), by_cluster=True), Prepend("a", unless_there=True, first=True)),
        ),
        "characters": vocabulary(
            "bpe", spm, of_spm, pre=by_name()["gemma4"], merges=[("l", "l"), ("▁", "H"), ("a", "a"), ("a", "b")], characters=True,
        ),
    }  # fmt: skip


@NEEDS_GCC
@pytest.mark.parametrize("name", small_vocabularies())
def test_survives_altered_tables_and_failing_allocations(sanitized: Path, tmp_path: Path, name: str) -> None:
    blob = tmp_path / "tokenizer.bin"
    blob.write_bytes(compile_vocabulary(small_vocabularies()[name]))
    run = subprocess.run([sanitized, blob, "1", "1500"], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and run.stdout == "ok\n", run.stderr[-3000:]
