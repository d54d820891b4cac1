r"""The pre-tokenizers of byte-level BPE: one row per set of regexes, with the names a GGUF file's `tokenizer.ggml.pre` gives it.

A text is cut by the first pattern; what it matches and what lies between matches are pieces; every piece is cut by the next
pattern on its own, so lookahead ends at a piece's end. The rows say what llama.cpp does for these names, which is not always
what the model's own tokenizer.json says: upper and lower case are told apart in ASCII only.
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


def mixed(digits: str) -> str:
    """The same where letters of either case and marks make one word."""
    word = rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+(?i:{CONTRACTION})?"
    return rf"{word}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}"


LINES = r"[^\n]+|[\n]+"
LETTERS = (  # of DeepSeek LLM: those with case, of an older Unicode
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113"
    "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184"
    "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e"
    "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)
FULL_WIDTH = "[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"
DEEPSEEK_LLM = (
    r"[\r\n]", rf"\s?[{LETTERS}]+", rf"\s?{FULL_WIDTH}", r"\s+(?![\s\S])", CJK_HANGUL, r"\p{N}+",
)  # fmt: skip
HAN = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\U0002ceb0-\U0002ebef\uf900-\ufaff\U0002f800-\U0002fa1f"
)
KIMI = (
    rf"[{HAN}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{HAN}]]+(?i:{CONTRACTION})?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}"
)
ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff"
    "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
YOUTU = "[\uac00-\ud7a3\u3131-\u318e]+|[！…“”‘’—：；，\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + CJK
DEEPSEEK_3 = (
    r"[!-/:-~&&[^A-Za-z]][A-Za-z]+"
    rf"|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{BLANKS}"
)
SPARK = DEEPSEEK_3.replace(r"+[\r\n]*|\s*[\r\n]+", r"+|[\r\n]")
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
    triples: a match of the first pattern is cut in threes of code points, from its end: `x 1|234|567`.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False
    default_bos: bool = True
    clean_spaces: bool = False
    characters: bool = False
    triples: bool = False


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
    PreTokenizer(("deepseek-llm",), DEEPSEEK_LLM),
    PreTokenizer(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), (r"\p{N}{1,3}", CJK, DEEPSEEK_3)),
    PreTokenizer(("spark2_5",), (r"\p{N}{1,3}", CJK, SPARK, r"\p{N}")),
    PreTokenizer(("afmoe",), (r"\p{N}+", ASIAN, DEEPSEEK_3), triples=True),
    PreTokenizer(("superbpe",), (r"[0-9]+", r"\p{N}+"), triples=True),
    PreTokenizer(("tiny_aya", "cohere2moe"), (r"\p{N}+", mixed(r"\p{N}{1,3}")), triples=True),
    PreTokenizer(("youtu",), (YOUTU, mixed(r"\p{N}")), ignore_merges=True),
    PreTokenizer(("kimi-k2", "kimi-k25"), (KIMI,)),
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
