r"""The pre-tokenizers of byte-level BPE: one row per set of regexes, with the names a GGUF file's `tokenizer.ggml.pre` gives it.

A text is cut by the first pattern; what it matches and what lies between matches are pieces; every piece is cut by the next
pattern on its own, so lookahead ends at a piece's end. The rows say what llama.cpp does for these names, which is not always
what the model's own tokenizer.json says: `~` is no symbol where a pattern asks for \p{S}, and upper and lower case are told
apart in ASCII only.
"""

from dataclasses import dataclass
from functools import cache

CONTRACTION = r"'(?:[sdmt]|ll|ve|re)"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = rf"{CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
CJK_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"


def words(digits: str, letter: str = r"\p{L}", contraction: str = rf"(?i:{CONTRACTION})|") -> str:
    """The pattern Llama 3 and Qwen 2 share, up to how digits are cut."""
    other = rf" ?[^\s{letter.strip('[]')}\p{{N}}]+[\r\n]*"
    return rf"{contraction}[^\r\n\p{{L}}\p{{N}}]?{letter}+|{digits}|{other}|{BLANKS}"


def cased(digits: str, mark: str = "", contraction: str = "", end: str = "/") -> str:
    """The pattern of GPT-4o and Tekken: a word begins anew where a capital follows a small letter."""
    upper, lower = rf"[[\p{{L}}{mark}]&&[^a-z]]", rf"[[\p{{L}}{mark}]&&[^A-Z]]"
    lead = r"[^\r\n\p{L}\p{N}]?"
    either = rf"{lead}{upper}*{lower}+{contraction}|{lead}{upper}+{lower}*{contraction}"
    return rf"{either}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n{end}]*|{BLANKS}"


LINES = r"[^\n]+|[\n]+"
SYMBOL = r"[\p{S}&&[^~]]"
DEEPSEEK_3 = (
    r"[!-/:-~&&[^A-Za-z]][A-Za-z]+"
    rf"|[^\r\n\p{{L}}\p{{P}}{SYMBOL}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}{SYMBOL}]+[\r\n]*|{BLANKS}"
)
JAIS_2_BLANKS = "|".join(rf"\s{{{n}}}(?!\S)" for n in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2")) + r"|\s{1}"
JAIS_2 = words(r"\p{N}{1,3}").removesuffix(r"\s+(?!\S)|\s+") + JAIS_2_BLANKS
BAILING = words(r"\p{N}").replace(r"\s*[\r\n]+|", r"\s*[\r\n]|")
SEED_CODER = words(r"\p{N}").replace(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}\r\n]+")
EXAONE_MOE = (
    rf"(?i:{CONTRACTION})|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
CHAMELEON = (r"<sentinel:[0-9]+>", r"IMGIMG[A-I]{1,4}Z", r"[\t\n]|    |  ", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2)


@dataclass(frozen=True)
class PreTokenizer:
    """names: values of tokenizer.ggml.pre. patterns: applied one after the other, each to the pieces of the one before.

    ignore_merges: a piece that is a token is that token, whatever the merges make of it. add_bos: the default of add_bos_token.
    default_bos: whether a file without a bos_token_id has one. clean_spaces: detokenising removes the space before punctuation.
    characters: tokens spell spaces U+2581 and words begin as characters, as SentencePiece has it, not as bytes; a BOS is added.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    default_bos: bool = True
    clean_spaces: bool = False
    characters: bool = False


DEFAULT = "default"  # also for files that do not say
PRE_TOKENIZERS = (
    PreTokenizer((DEFAULT, ""), (r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"), clean_spaces=True),
    PreTokenizer(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        (words(r"\p{N}{1,3}"),),
        ignore_merges=True,
        add_bos=True,
        clean_spaces=True,
    ),
    PreTokenizer(("dbrx", "smaug-bpe"), (words(r"\p{N}{1,3}"),), clean_spaces=True),
    PreTokenizer(("glm4", "chatglm-bpe"), (words(r"\p{N}{1,3}"),), default_bos=False, clean_spaces=True),
    PreTokenizer(
        ("gpt-2", "phi-2", "gigachat", "a.x-4.0", "mellum", "mpt", "olmo", "jais", "exaone4", "modern-bert", "roberta-bpe")
        + ("jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de", "jina-v2-code"),
        (GPT2,),
        clean_spaces=True,
    ),
    PreTokenizer(("trillion", "granite-docling"), (GPT2,)),
    PreTokenizer(("starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"), (r"\p{N}", GPT2), clean_spaces=True),
    PreTokenizer(("smollm", "command-r"), (r"\p{N}", GPT2)),
    PreTokenizer(("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"), (words(r"\p{N}"),)),
    PreTokenizer(("stablelm2", "megrez"), (words(r"\p{N}"),), clean_spaces=True),
    PreTokenizer(("qwen35",), (words(r"\p{N}", r"[\p{L}\p{M}]"),)),
    PreTokenizer(("ufakzeka",), (words(r"\p{N}", contraction=""),)),
    PreTokenizer(("laguna",), (LINES, words(r"\p{N}"))),
    PreTokenizer(("minicpm5",), (r"\p{N}{1,3}", words(r"\p{N}+")), ignore_merges=True, clean_spaces=True),
    PreTokenizer(("jais-2",), (JAIS_2,), clean_spaces=True),
    PreTokenizer(("tekken",), (cased(r"\p{N}"),), ignore_merges=True, add_bos=True),
    PreTokenizer(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), (cased(r"\p{N}{1,3}", "", rf"(?i:{CONTRACTION})?"),)),
    PreTokenizer(
        ("granite-embed-multi-97m",), (cased(r"\p{N}{1,3}", r"\p{M}", rf"(?i:{CONTRACTION})?"),), ignore_merges=True
    ),  # fmt: skip
    PreTokenizer(("deepseek-coder",), (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK_HANGUL, r"\p{N}")),
    PreTokenizer(("deepseek-v3", "hunyuan-dense", "joyai-llm"), (r"\p{N}{1,3}", CJK, DEEPSEEK_3)),
    PreTokenizer(("bailingmoe", "bailingmoe2", "llada-moe"), (BAILING,)),
    PreTokenizer(("seed-coder",), (SEED_CODER,)),
    PreTokenizer(("exaone-moe",), (EXAONE_MOE,), clean_spaces=True),
    PreTokenizer(("falcon",), (r"[\p{P}$+<=>^~|`]+", GPT2, r"[0-9][0-9][0-9]"), clean_spaces=True),
    PreTokenizer(("poro-chat",), (BLOOM,)),
    PreTokenizer(("bloom", "gpt3-finnish"), (BLOOM,), clean_spaces=True),
    PreTokenizer(("viking",), (BLOOM, r"\p{N}")),
    PreTokenizer(("gemma4", "granite-embed-multi-311m"), (LINES,), clean_spaces=True, characters=True),
    PreTokenizer(("sarvam-moe",), (LINES,), characters=True),
    PreTokenizer(("chameleon",), CHAMELEON, add_bos=True),
)


@cache
def by_name() -> dict[str, PreTokenizer]:
    """Pre-tokenizers by every name they have."""
    rows = [(name, row) for row in PRE_TOKENIZERS for name in row.names]
    assert len(rows) == len(dict(rows)), "a pre-tokenizer name is in two rows"
    return dict(rows)
