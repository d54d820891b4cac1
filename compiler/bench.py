"""`llmc bench`: how fast an artifact is here. The runtime's own clock times prefill and decode apart; medians are reported.

Token ids are arbitrary: speed does not depend on them.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmc.errors import UsageError

if TYPE_CHECKING:
    from llmc.runtime.binding import Model


def measure(
    artifact: Path, *, prompt: int = 512, tokens: int = 64, repeat: int = 5, threads: int | None = None, isa: str | None = None
) -> dict[str, Any]:
    """Prefills `prompt` tokens and decodes `tokens` more, `repeat` times after one round that is not counted.

    Rates are tokens per second. Raises UsageError where prompt and tokens do not fit the model's context.
    """
    from llmc.runtime import binding

    begun = time.perf_counter()
    with binding.load(artifact, threads=threads, isa=isa) as model:
        opened = time.perf_counter() - begun
        if prompt + tokens > model.context:
            hint = "lower --prompt or --tokens"
            raise UsageError(f"{prompt} + {tokens} tokens do not fit the model's context of {model.context}", hint=hint)
        rounds = [_round(model, prompt, tokens) for _ in range(repeat + 1)][1:]  # the first one brings the weights into memory
        prefill, decode = (statistics.median(column) for column in zip(*rounds, strict=True))
        return {
            "artifact": str(artifact),
            "isa": model.isa,
            "threads": model.threads,
            "open_seconds": round(opened, 4),
            "rounds": repeat,
            "prefill": {"tokens": prompt, "tokens_per_second": round(prompt / prefill, 2)},
            "decode": {"tokens": tokens, "after": prompt, "tokens_per_second": round(tokens / decode, 2)},
        }


def _round(model: Model, prompt: int, tokens: int) -> tuple[float, float]:
    """Seconds of one prefill and of decoding `tokens` tokens after it."""
    ids = [i % min(model.info.vocab, 1000) for i in range(prompt)]
    with_first = tokens + 1  # the first token comes out of the prompt's logits
    generation = model.generate(ids, max_tokens=with_first, ignore_end=True)
    for _ in generation:
        pass
    timings = generation.timings
    assert timings["tokens"] == with_first, timings
    return timings["prompt_ns"] / 1e9, timings["decode_ns"] / 1e9


def text(result: dict[str, Any]) -> str:
    """The figures for a reader."""
    p, d = result["prefill"], result["decode"]
    return (
        f"{result['artifact']}: {result['isa']}, {result['threads']} threads, medians of {result['rounds']}\n"
        f"prefill of {p['tokens']} tokens   {p['tokens_per_second']:>9.1f} tokens per second\n"
        f"decode of {d['tokens']} tokens     {d['tokens_per_second']:>9.1f} tokens per second"
    )
