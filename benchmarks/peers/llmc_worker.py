"""llmc through its Python binding: `llmc_worker.py ARTIFACT THREADS`."""

from __future__ import annotations

import sys
import time

import protocol

import llmc


class Llmc:
    """One session for single sequences, one for batches; only one is open at a time."""

    def __init__(self, artifact: str, threads: int) -> None:
        self.threads = threads
        self.model = llmc.load(artifact, threads=threads, context=protocol.CONTEXT)
        self.about = {"version": llmc.__version__, "isa": self.model.info.isa}
        self._single()

    def _single(self) -> None:
        self.many: list[int] = []
        self.session = self.model.session(context=protocol.CONTEXT, threads=self.threads)
        self.sequence, self.length = self.session.open(), 0

    def _batched(self) -> None:
        """Sequences with a short prompt each."""
        options = {"context": protocol.BATCH_CONTEXT, "max_sequences": protocol.MAX_SEQUENCES}
        self.session = self.model.session(**options, threads=self.threads)
        self.many = [self.session.open() for _ in range(protocol.MAX_SEQUENCES)]
        for sequence in self.many:
            self.session.prefill(sequence, protocol.ids(protocol.BATCH_PROMPT))

    def _want(self, batched: bool) -> None:
        if batched != bool(self.many):
            self.session.close()
            (self._batched if batched else self._single)()

    def _fill(self, depth: int) -> None:
        """Makes the sequence exactly so long; what it has already is kept."""
        if self.length > depth:
            self.session.truncate(self.sequence, depth)
        elif self.length < depth:
            self.session.prefill(self.sequence, protocol.ids(depth)[self.length :])
        self.length = depth

    def prefill(self, tokens: int) -> float:
        self._want(batched=False)
        self._fill(0)
        begun = time.perf_counter()
        self.session.prefill(self.sequence, protocol.ids(tokens))
        self.length = tokens
        return time.perf_counter() - begun

    def decode(self, tokens: int, depth: int) -> float:
        self._want(batched=False)
        self._fill(depth)
        begun = time.perf_counter()
        for token in protocol.ids(tokens):
            self.session.prefill(self.sequence, [token])
        self.length += tokens
        return time.perf_counter() - begun

    def batch(self, sequences: int, steps: int) -> float:
        self._want(batched=True)
        chosen = self.many[:sequences]
        for sequence in chosen:
            self.session.truncate(sequence, protocol.BATCH_PROMPT)
        begun = time.perf_counter()
        for token in protocol.ids(steps):
            self.session.step({sequence: [token] for sequence in chosen})
        return time.perf_counter() - begun


if __name__ == "__main__":
    protocol.serve(Llmc(sys.argv[1], int(sys.argv[2])))
