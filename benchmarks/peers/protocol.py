"""How an engine in a process of its own is asked for timings: one line in, one line out.

A worker prints `ready {...}`, a JSON object of facts about itself, then answers each line `VERB INTEGER...` with seconds:

    prefill N              N tokens into an empty sequence, up to the logits of the last
    decode N DEPTH         N steps of one token each, behind DEPTH tokens that are already in the cache
    batch SEQUENCES STEPS  STEPS steps of one token for each of so many sequences

Nothing of llmc is imported here: a peer's own interpreter runs its worker by its path.
"""

from __future__ import annotations

import json
import sys
from typing import Protocol

DEPTH = 2048  # the deepest a cache is filled before decoding
CONTEXT = DEPTH + 128
BATCH_CONTEXT = 128  # of each sequence of a batch
BATCH_PROMPT = 16
MAX_SEQUENCES = 16
IDS = 1000  # token ids used are below this


class Engine(Protocol):
    """What a worker serves. All answers are seconds."""

    about: dict[str, str]

    def prefill(self, tokens: int) -> float: ...

    def decode(self, tokens: int, depth: int) -> float: ...

    def batch(self, sequences: int, steps: int) -> float: ...


def ids(count: int) -> list[int]:
    """Arbitrary token ids."""
    return [i % IDS for i in range(count)]


def serve(engine: Engine) -> None:
    """Answers until standard input ends."""
    print("ready", json.dumps(engine.about), flush=True)
    for line in sys.stdin:
        verb, *numbers = line.split()
        print(getattr(engine, verb)(*map(int, numbers)), flush=True)
