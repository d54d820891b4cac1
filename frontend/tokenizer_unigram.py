"""Unigram: a text is cut into the tokens whose log probabilities add up to most. Kudo, arXiv:1804.10959.

How texts are prepared is said by SentencePiece's normaliser: characters are rewritten (tokenizer_charsmap.py), spaces merged, one
put before the text, and all spelt U+2581.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmc.frontend.tokenizer_charsmap import Charsmap
from llmc.frontend.tokenizer_normalizer import Literal, Prepend, Rewrite, Squeeze, Step, Strip

SPACE = "▁"  # how SentencePiece spells a space
PENALTY = 10.0  # of a character that no token covers, below the worst token


@dataclass(frozen=True)
class Unigram:
    """scores f64 [tokens]: log probabilities, NaN for what no text becomes. byte_fallback: what no token covers is spelt in byte
    tokens. patterns: what cuts a text before all else, if anything does.
    """

    scores: npt.NDArray[np.float64]
    byte_fallback: bool = False
    patterns: tuple[str, ...] = ()


def steps(charsmap: Charsmap | None, prefix: bool, merge_spaces: bool) -> tuple[Step, ...]:
    """What is done to a text. prefix: a space is put before it; merge_spaces: runs become one, and none stays at the ends."""
    rewritten = (Rewrite(charsmap),) if charsmap is not None and len(charsmap.units) > 1 else ()
    merged = (Strip(True, True, spaces=True), Squeeze(" ", " ")) if merge_spaces else ()
    prefixed = (Prepend(" ", not_to_blanks=True),) if prefix else ()
    return (*rewritten, *merged, *prefixed, Literal(" ", SPACE))
