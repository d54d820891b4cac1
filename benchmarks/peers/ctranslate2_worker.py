"""CTranslate2 with int8 weights, through its Python package: `ctranslate2_worker.py FOLDER THREADS`.

Times are those of its token callback, so a prefill is what a user waits for the first token.
"""

from __future__ import annotations

import sys
import time

import ctranslate2
import protocol


class CTranslate2:
    def __init__(self, folder: str, threads: int) -> None:
        self.generator = ctranslate2.Generator(folder, device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1)
        self.about = {"version": ctranslate2.__version__, "compute_type": self.generator.compute_type}

    def _times(self, prompt: int, sequences: int, tokens: int) -> list[float]:
        """When it began and when each step ended, in seconds."""
        times = [time.perf_counter()]

        def step_ended(result: ctranslate2.GenerationStepResult) -> bool:
            if result.batch_id == 0:
                times.append(time.perf_counter())
            return False

        words = [f"<{i}>" for i in protocol.ids(prompt)]
        self.generator.generate_batch(
            [words] * sequences, max_length=tokens, min_length=tokens, sampling_topk=1, include_prompt_in_result=False,
            end_token=[], callback=step_ended,
        )  # fmt: skip
        return times

    def prefill(self, tokens: int) -> float:
        begun, first, *_ = self._times(tokens, 1, 1)
        return first - begun

    def _steps(self, prompt: int, sequences: int, tokens: int) -> float:
        _, first, *others = self._times(prompt, sequences, tokens + 1)
        return others[tokens - 1] - first

    def decode(self, tokens: int, depth: int) -> float:
        return self._steps(max(depth, 1), 1, tokens)

    def batch(self, sequences: int, steps: int) -> float:
        return self._steps(protocol.BATCH_PROMPT, sequences, steps)


if __name__ == "__main__":
    protocol.serve(CTranslate2(sys.argv[1], int(sys.argv[2])))
