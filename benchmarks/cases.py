"""What is measured: the questions, and the sets of models and threads they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from benchmarks.make_model import KINDS
from benchmarks.models import Model

DEEP = 2048
DECODED = 64
STEPS = 16
COMPARED = ("f16", "q4_0", "q8_0", "q4_k_m")  # the formats every peer is asked for; the others are in format_speed.py
INT8_KINDS = frozenset(KINDS) - {"f16"}  # whose products are of 8-bit integers, which `compute` measures


@dataclass(frozen=True)
class Question:
    """One timing of every engine. `flags` are llama.cpp's ways worth trying; a step reads the weights, at `depth` of the cache.

    ask, try_first  what a worker is asked, and in the trial that chooses among an engine's ways
    warm_up         asked just before, its answer forgotten: after seconds of rest a first answer is up to a tenth slower
    tokens          made or taken in by one answer
    passes          over the weights that one answer cannot do without; 0 where arithmetic is the limit
    heads           rows of logits computed in one answer
    not_asked       why some engines are not asked
    """

    name: str
    ask: str
    try_first: str
    tokens: int
    passes: int
    heads: int
    depth: int = 0
    flags: tuple[str, ...] = ("extra,flash", "plain,flash")
    warm_up: str = ""
    not_asked: Mapping[str, str] = field(default_factory=dict)

    def limit_seconds(self, model: Model, pass_seconds: float, operations_per_second: float) -> float | None:
        """The least time one answer can take on this machine; None where that is not known."""
        reading = self.passes * pass_seconds * model.read_share(self.depth)
        if model.kind not in INT8_KINDS or not operations_per_second:
            return reading or None
        return max(reading, model.operations(self.tokens, self.heads) / operations_per_second)


def prefill(tokens: int) -> Question:
    name = f"prefill {tokens}"
    return Question(name, name, name, tokens, passes=0, heads=1, warm_up="prefill 32")


def decode(depth: int) -> Question:
    name, middle = f"decode {DECODED} at depth {depth}", depth + DECODED // 2
    flags = ("extra,flash", "extra,no-flash", "plain,flash") if depth else ("extra,flash", "plain,flash")
    asked, first = f"decode {DECODED} {depth}", f"decode 16 {depth}"
    return Question(name, asked, first, DECODED, passes=DECODED, heads=DECODED, depth=middle, flags=flags)


def batch(sequences: int) -> Question:
    name, tokens = f"{sequences} sequence{'s' * (sequences > 1)}", sequences * STEPS
    return Question(name, f"batch {sequences} {STEPS}", f"batch {sequences} 4", tokens, passes=STEPS, heads=tokens)


PREFILLS = (prefill(128), prefill(512))
DECODES = (decode(0), decode(DEEP))
BATCHES = tuple(batch(n) for n in (1, 2, 4, 8, 16))
QUESTIONS = (*PREFILLS, *DECODES, *BATCHES)


@dataclass(frozen=True)
class Case:
    """Questions about one model with so many threads. `start`: the time to the first token, and peak memory, too."""

    model: Model
    threads: int
    questions: tuple[Question, ...] = QUESTIONS
    start: bool = True


def quick() -> list[Case]:
    """About a quarter of an hour on two cores."""
    k, q = Model("llama-1b", "q4_k_m"), Model("llama-1b", "q4_0")
    main = (prefill(512), decode(0))
    deep = replace(decode(DEEP), not_asked={"ctranslate2": "not asked in the bounded set: it would take in the prompt each time"})
    full = (*PREFILLS, decode(0), deep, *BATCHES)
    return [Case(k, 2, full), Case(q, 2, (*main, batch(16))), Case(k, 1, main, start=False), Case(q, 1, main, start=False)]


def everything(shapes: tuple[str, ...]) -> list[Case]:
    return [Case(Model(shape, kind), threads) for shape in shapes for kind in COMPARED for threads in (2, 1)]


def chosen(cases: list[Case], keep: Callable[[Case], bool], only: str) -> Iterator[Case]:
    """The cases that `keep` wants, with the questions whose name contains `only`; "start" and "memory" are names, too."""
    for case in filter(keep, cases):
        questions = tuple(q for q in case.questions if only in q.name)
        start = case.start and (only in "start" or only in "memory")
        if questions or start:
            yield replace(case, questions=questions, start=start)
