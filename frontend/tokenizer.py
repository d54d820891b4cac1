"""Compiles a checkpoint's tokenizer to one blob, which the runtime uses where it is mapped: nothing is parsed or copied there.

The blob, little-endian, version 3 (runtime/src/tokenizer_blob.h is the same text in C):

    0   magic      "LLMCTOK\\0"
    8   u32        version
    12  u32        kind: 1 BPE, 2 SentencePiece BPE, 3 WordPiece, 4 Unigram
    16  u64        size of the blob
    24  u32        flags (Flag)
    28  u32        tokens
    32  u32        symbols of the pre-tokenizer's machines: classes of code points, plus one for the end of the text
    36  u32        longest token text in bytes
    40  i32 [7]    ids of bos, eos, eot, eom, unknown, sep, pad (-1: none)
    68  u32        code points of the longest word that is not unknown (WordPiece; 0: any)
    72  [32]       sections: u64 offset (a multiple of 16), u64 number of elements, in the order of `Section`
    584            the sections

The same checkpoint gives the same bytes, whatever the machine, locale or hash seed.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

from llmc.errors import UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.tokenizer_automaton import compile_patterns
from llmc.frontend.tokenizer_normalizer import STEP_WORDS, Step, compile_steps
from llmc.frontend.tokenizer_tables import descending_keys, merge_index, pool, text_index, trie
from llmc.frontend.tokenizer_template import gguf_pair
from llmc.frontend.tokenizer_unigram import SPACE
from llmc.frontend.tokenizer_vocabulary import HIDDEN, LOOKED_FOR, Attribute, Attributes, Vocabulary, byte_of, read_vocabulary
from llmc.frontend.tokenizer_wordpiece import PHANTOM_SPACE

MAGIC, VERSION = b"LLMCTOK\0", 3
KINDS = {"bpe": 1, "spm": 2, "wordpiece": 3, "unigram": 4}
ROLES = ("bos", "eos", "eot", "eom", "unknown", "sep", "pad")
ALIGN = 16
HEADER = struct.Struct("<8sIIQ4I7iI")
SECTIONS = 32  # entries of the directory
MAX_TRIE_NODES = 1 << 24
MAX_TEXT = (1 << 31) - 1


class Flag(IntFlag):
    ADD_BOS = 1
    ADD_EOS = 2
    ADD_SPACE_PREFIX = 4
    CLEAN_SPACES = 8
    IGNORE_MERGES = 16
    ADD_SEP = 32
    PHANTOM_SPACE = 64  # keys of WordPiece are as in GGUF files
    BYTE_FALLBACK = 128  # of Unigram: what is unknown is spelt in byte tokens
    CHARACTERS = 256  # words of BPE begin as characters
    TRIPLES = 512  # a match of the first pattern is cut in threes, from its end


class SpecialFlag(IntFlag):
    """How a token that is found in a text as a whole is treated."""

    HIDDEN = 1  # found only when control tokens are asked for
    STRIP_LEFT = 2
    STRIP_RIGHT = 4


class Section(IntEnum):
    """Sections of the blob. T tokens, M merges, S strings that merges make and no token is; starts and ends: tokenizer_tables."""

    PIECE_ENDS = 0  # u32 [T + 1]
    PIECES = 1  # u8: what each token prints, special tokens included
    ATTRIBUTES = 2  # u8 [T]: Attribute
    TEXT_STARTS = 3  # u32: finds tokens by text (SentencePiece, and BPE with IGNORE_MERGES or CHARACTERS)
    TEXT_ENTRIES = 4  # u32 [n, 4]: low half of the hash, id, offset and length in TEXTS
    TEXTS = 5  # u8
    BYTES = 6  # u32 [256]: the symbol of a byte (BPE), the token of a byte (SentencePiece)
    MERGE_STARTS = 7  # u32: finds merges by their symbols. A symbol is a token, or T + a string of S
    MERGE_ENTRIES = 8  # u32 [M, 4]: left, right, result, rank
    EXPANSION_ENDS = 9  # u32 [S + 1]
    EXPANSIONS = 10  # u32: the tokens that a string of S comes out as
    SCORE_KEYS = 11  # u32 [T]: smaller is merged first (SentencePiece)
    SPECIALS = 12  # u32 [n, 4]: id, bytes, SpecialFlag, 0; in the order in which they are looked for
    TRIE_NODES = 13  # u32 [n + 1, 2]: over the texts of SPECIALS
    TRIE_EDGES = 14  # u32
    CLASS_PAGES = 15  # u16 [0x1100]: row of CLASSES for each 256 code points
    CLASSES = 16  # u8 [rows, 256]
    MACHINE_STARTS = 17  # u32 [patterns + 1]: first state of each machine in MACHINES
    MACHINES = 18  # u16 [states, symbols]: next state of this machine, plus 1 << 15 where a match ends before the symbol
    WORD_NODES = 19  # u32 [n + 1, 2]: over the keys of WordPiece, the tokens of Unigram; an ending is 1 + the token's id
    WORD_EDGES = 20  # u32
    STEPS = 21  # u32 [n, 6]: what is done to a text first, in order (tokenizer_normalizer.py; the next four as well)
    MAP_PAGES = 22  # u16 [maps, 0x1100]
    MAP_ENTRIES = 23  # u32 [rows, 256]
    MAP_TEXTS = 24  # u8
    PAIRS = 25  # u32 [n, 3]
    CHARSMAP = 26  # u32: units of a double-array trie (tokenizer_charsmap.py)
    REWRITTEN = 27  # u8: what its leaves point into
    SCORES = 28  # f64 [T] (Unigram): log probabilities; of the unknown token that of a character no token covers
    PAIR_TEMPLATE = 29  # u32 [n, 2]: a token, or FIRST or SECOND, and its segment: two texts as one


DTYPES = dict.fromkeys((Section.CLASS_PAGES, Section.MACHINES, Section.MAP_PAGES), "<u2") | dict.fromkeys(
    (Section.PIECES, Section.ATTRIBUTES, Section.TEXTS, Section.CLASSES, Section.MAP_TEXTS, Section.REWRITTEN), "u1"
) | {Section.SCORES: "<f8"}
# Sections whose elements are several numbers.
ENTRY = {
    Section.TEXT_ENTRIES: 4, Section.MERGE_ENTRIES: 4, Section.SPECIALS: 4, Section.TRIE_NODES: 2, Section.WORD_NODES: 2,
    Section.STEPS: STEP_WORDS, Section.PAIRS: 3, Section.PAIR_TEMPLATE: 2,
}  # fmt: skip

Sections = dict[Section, npt.NDArray[np.generic]]


def compile_tokenizer(checkpoint: Checkpoint, pre: str | None = None) -> bytes:
    """The blob of a checkpoint's tokenizer; `pre` overrides its tokenizer.ggml.pre.

    Raises UnsupportedModelError for a tokenizer llmc does not know and MalformedFileError, naming the key, for one that
    contradicts itself.
    """
    vocabulary = read_vocabulary(checkpoint, pre)
    return compile_vocabulary(replace(vocabulary, pair=gguf_pair(checkpoint, vocabulary)))


def compile_vocabulary(vocabulary: Vocabulary) -> bytes:
    """The blob of a vocabulary."""
    texts = [text.encode() for text in vocabulary.texts]
    if sum(map(len, texts)) > MAX_TEXT:
        raise UnsupportedModelError(f"tokenizer.ggml.tokens holds more than {MAX_TEXT} bytes of text")
    sections = _shared_sections(vocabulary, texts)
    match vocabulary.kind:
        case "bpe":
            sections |= _bpe_sections(vocabulary)
        case "spm":
            sections |= _spm_sections(vocabulary, texts)
        case "unigram":
            sections |= _unigram_sections(vocabulary, texts)
        case _:
            sections |= _wordpiece_sections(vocabulary)
    return _blob(vocabulary, sections, max(map(len, texts)))


def _blob(vocabulary: Vocabulary, sections: Sections, longest: int) -> bytes:
    directory, body = [], []
    at = HEADER.size + 16 * SECTIONS
    for section in Section:
        data = np.ascontiguousarray(sections.get(section, np.zeros(0)), DTYPES.get(section, "<u4")).reshape(-1)
        padding = -at % ALIGN
        body += [bytes(padding), data.tobytes()]
        directory.append(struct.pack("<QQ", at + padding, data.size // ENTRY.get(section, 1)))
        at += padding + data.nbytes
    directory += [struct.pack("<QQ", at + -at % ALIGN, 0)] * (SECTIONS - len(Section))
    body.append(bytes(-at % ALIGN))
    at += -at % ALIGN
    classes = sections[Section.MACHINES].shape[1] if Section.MACHINES in sections else 0
    roles = [vocabulary.roles.get(role, -1) for role in ROLES]
    tokens = len(vocabulary.texts)
    header = HEADER.pack(
        MAGIC, VERSION, KINDS[vocabulary.kind], at, _flags(vocabulary), tokens, classes, longest, *roles,
        vocabulary.wordpiece.longest_word if vocabulary.wordpiece else 0,
    )  # fmt: skip
    return b"".join((header, *directory, *body))


def _flags(vocabulary: Vocabulary) -> Flag:
    flags = {
        Flag.ADD_BOS: vocabulary.add_bos,
        Flag.ADD_EOS: vocabulary.add_eos,
        Flag.ADD_SPACE_PREFIX: vocabulary.add_space_prefix,
        Flag.CLEAN_SPACES: vocabulary.clean_spaces,
        Flag.IGNORE_MERGES: vocabulary.pre is not None and vocabulary.pre.ignore_merges,
        Flag.ADD_SEP: vocabulary.add_sep,
        Flag.PHANTOM_SPACE: vocabulary.wordpiece is not None and vocabulary.wordpiece.first == PHANTOM_SPACE,
        Flag.BYTE_FALLBACK: vocabulary.unigram is not None and vocabulary.unigram.byte_fallback,
        Flag.CHARACTERS: vocabulary.characters,
        Flag.TRIPLES: vocabulary.pre is not None and vocabulary.pre.triples,
    }
    return Flag(sum(flag for flag, on in flags.items() if on))


def _shared_sections(vocabulary: Vocabulary, texts: list[bytes]) -> Sections:
    """What both kinds have: the printed form of tokens, and the special tokens."""
    ends, pieces = pool(_pieces(vocabulary))
    specials = np.flatnonzero(vocabulary.attributes & LOOKED_FOR).tolist()
    specials.sort(key=lambda i: -len(texts[i]))  # the longest first; of equal ones the lower id
    if sum(len(texts[i]) for i in specials) >= MAX_TRIE_NODES:
        raise UnsupportedModelError(f"the special tokens of tokenizer.ggml.tokens hold more than {MAX_TRIE_NODES} bytes of text")
    nodes, edges = trie([texts[i] for i in specials])
    return {
        Section.PIECE_ENDS: ends,
        Section.PIECES: pieces,
        Section.ATTRIBUTES: _attributes(vocabulary),
        Section.SPECIALS: np.array([(i, len(texts[i]), _special_flags(vocabulary, i), 0) for i in specials], np.uint32),
        Section.TRIE_NODES: nodes,
        Section.TRIE_EDGES: edges,
        **_step_sections(vocabulary.steps),
        Section.PAIR_TEMPLATE: np.array([(what % (1 << 32), segment) for what, segment in vocabulary.pair], np.uint32),
    }


def _attributes(vocabulary: Vocabulary) -> Attributes:
    """As they are, but for WordPiece's unknown token: it is all that is left of a word, so a text shows it."""
    if vocabulary.kind != "wordpiece":
        return vocabulary.attributes
    shown = vocabulary.attributes.copy()
    shown[vocabulary.roles["unknown"]] = Attribute.NORMAL
    return shown


def _step_sections(steps: Sequence[Step]) -> Sections:
    tables = compile_steps(steps)
    return {
        Section.STEPS: tables.steps,
        Section.MAP_PAGES: tables.pages,
        Section.MAP_ENTRIES: tables.entries,
        Section.MAP_TEXTS: tables.texts,
        Section.PAIRS: tables.pairs,
        Section.CHARSMAP: tables.units,
        Section.REWRITTEN: tables.rewritten,
    }


def _special_flags(vocabulary: Vocabulary, token: int) -> SpecialFlag:
    hidden = SpecialFlag.HIDDEN if vocabulary.attributes[token] & HIDDEN else SpecialFlag(0)
    left = SpecialFlag.STRIP_LEFT if token in vocabulary.strip_left else SpecialFlag(0)
    right = SpecialFlag.STRIP_RIGHT if token in vocabulary.strip_right else SpecialFlag(0)
    return hidden | left | right


def _pieces(vocabulary: Vocabulary) -> list[bytes]:
    """What each token prints when special tokens are shown."""
    if vocabulary.wordpiece is not None and vocabulary.wordpiece.pieces is not None:
        return [vocabulary.wordpiece.pieces.get(i, b"") for i in range(len(vocabulary.texts))]
    show = _show_bpe if vocabulary.kind == "bpe" and not vocabulary.characters else _show_spm
    kinds = (LOOKED_FOR, Attribute.NORMAL, Attribute.BYTE)
    masks = zip(*((vocabulary.attributes & kind != 0).tolist() for kind in kinds), strict=True)
    return [
        text.encode() if as_it_is else show(text) if normal else bytes([byte_of(text) or 0]) if byte else b""
        for text, (as_it_is, normal, byte) in zip(vocabulary.texts, masks, strict=True)
    ]


def _show_spm(text: str) -> bytes:
    return text.replace(SPACE, " ").encode()


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in byte-level BPE: itself if it can be printed, else one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (c for c in range(0x100) if c not in printable)
    stand_ins = {byte: chr(0x100 + i) for i, byte in enumerate(others)}
    return [stand_ins.get(byte, chr(byte)) for byte in range(0x100)]


ALPHABET = byte_alphabet()
NOT_A_BYTE = "\uffff"
TO_BYTE = {code: NOT_A_BYTE for code in range(0x100)} | {ord(char): chr(byte) for byte, char in enumerate(ALPHABET)}


def to_bytes(text: str) -> bytes | None:
    """The bytes that a token text of byte-level BPE spells; None if it has characters outside the byte alphabet."""
    try:
        return text.translate(TO_BYTE).encode("latin-1")
    except UnicodeEncodeError:
        return None


def _show_bpe(text: str) -> bytes:
    return to_bytes(text) or b"".join(to_bytes(char) or _unknown_character(char, text) for char in text)


def _unknown_character(char: str, text: str) -> bytes:
    """llama.cpp's stand-in for a character of a token that no byte has."""
    return f"[UNK_BYTE_0x{char.encode().hex()}{text}]".encode()


def _bpe_sections(vocabulary: Vocabulary) -> Sections:
    assert vocabulary.pre is not None
    count = len(vocabulary.texts)
    tokens = {text: i for i, text in enumerate(vocabulary.texts)}
    symbols = dict(tokens)
    alphabet = [f"<0x{byte:02X}>" for byte in range(0x100)] if vocabulary.characters else ALPHABET
    byte_symbols = [symbols.setdefault(char, len(symbols)) for char in alphabet]
    left = [symbols.setdefault(a, len(symbols)) for a, _ in vocabulary.merges]
    right = [symbols.setdefault(b, len(symbols)) for _, b in vocabulary.merges]
    result = [symbols.setdefault(a + b, len(symbols)) for a, b in vocabulary.merges]
    starts, entries = merge_index(*(np.array(column, np.uint32) for column in (left, right, result)))
    spell = _spell_bytes if vocabulary.characters else _spell_ascii
    ends, expansions = _expansions([spell(string, tokens) for string in list(symbols)[count:]])
    sections: Sections = {
        Section.BYTES: np.array(byte_symbols, np.uint32),
        Section.MERGE_STARTS: starts,
        Section.MERGE_ENTRIES: entries,
        Section.EXPANSION_ENDS: ends,
        Section.EXPANSIONS: expansions,
    }
    if vocabulary.characters:
        sections |= _text_sections([text.encode() for text in vocabulary.texts], range(count))
    elif vocabulary.pre.ignore_merges:
        keys = {i: key for i, text in enumerate(vocabulary.texts) if (key := to_bytes(text)) is not None}
        sections |= _text_sections(list(keys.values()), list(keys))
    return sections | _machine_sections(vocabulary.pre.patterns)


def _spell_ascii(string: str, tokens: dict[str, int]) -> list[int]:
    """What a string that is no token comes out as: its ASCII characters, where those are tokens, and nothing for the others."""
    return [tokens[char] for char in string if char.isascii() and char in tokens]


def _spell_bytes(string: str, tokens: dict[str, int]) -> list[int]:
    """The same in byte tokens."""
    names = (f"<0x{byte:02X}>" for byte in string.encode())
    return [tokens[name] for name in names if name in tokens]


def _expansions(ids: list[list[int]]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The spellings of strings that are no tokens, one after the other."""
    ends = np.cumsum([0, *map(len, ids)]).astype(np.uint32)
    return ends, np.array([i for of_one in ids for i in of_one], np.uint32)


def _spm_sections(vocabulary: Vocabulary, texts: list[bytes]) -> Sections:
    assert vocabulary.scores is not None
    tokens = {text: i for i, text in enumerate(texts)}
    unknown = vocabulary.roles.get("unknown", 0)
    of_bytes = [tokens.get(b"<0x%02X>" % byte, tokens.get(bytes([byte]), unknown)) for byte in range(0x100)]
    return _text_sections(texts, range(len(texts))) | {
        Section.BYTES: np.array(of_bytes, np.uint32),
        Section.SCORE_KEYS: descending_keys(vocabulary.scores),
    }


def _unigram_sections(vocabulary: Vocabulary, texts: list[bytes]) -> Sections:
    assert vocabulary.unigram is not None
    unigram, unknown = vocabulary.unigram, vocabulary.roles["unknown"]
    tokens = {text: i for i, text in enumerate(texts)}
    chosen = [i for i in np.flatnonzero(~np.isnan(unigram.scores)).tolist() if i != unknown]
    machines = _machine_sections(unigram.patterns) if unigram.patterns else {}
    return _key_sections({i: texts[i] for i in chosen}) | machines | {
        Section.BYTES: np.array([tokens.get(b"<0x%02X>" % byte, unknown) for byte in range(0x100)], np.uint32),
        Section.SCORES: np.nan_to_num(unigram.scores),
    }


def _key_sections(keys: Mapping[int, bytes]) -> Sections:
    """A trie over the keys of tokens, by id."""
    if sum(map(len, keys.values())) >= MAX_TRIE_NODES:
        raise UnsupportedModelError(f"the tokens of the vocabulary hold more than {MAX_TRIE_NODES} bytes of text")
    nodes, edges = trie(list(keys.values()))
    ids = np.array([0, *(i + 1 for i in keys)], np.uint32)
    nodes[:, 1] = ids[nodes[:, 1]]
    return {Section.WORD_NODES: nodes, Section.WORD_EDGES: edges}


def _wordpiece_sections(vocabulary: Vocabulary) -> Sections:
    assert vocabulary.wordpiece is not None
    return _key_sections(vocabulary.wordpiece.keys) | _machine_sections(vocabulary.wordpiece.patterns)


def _text_sections(keys: list[bytes], ids: Sequence[int]) -> Sections:
    starts, entries, data = text_index(keys, ids)
    return {Section.TEXT_STARTS: starts, Section.TEXT_ENTRIES: entries, Section.TEXTS: data}


def _machine_sections(patterns: tuple[str, ...]) -> Sections:
    letters, machines = compile_patterns(patterns)
    return {
        Section.CLASS_PAGES: letters.pages,
        Section.CLASSES: letters.classes,
        Section.MACHINE_STARTS: np.cumsum([0, *map(len, machines)]).astype(np.uint32),
        Section.MACHINES: np.concatenate(machines),
    }
