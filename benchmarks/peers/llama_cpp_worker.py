"""llama.cpp through the low-level calls of llama-cpp-python: `llama_cpp_worker.py MODEL.gguf THREADS FLAGS`.

FLAGS are names joined by commas: `extra` lets it repack weights at load (AMX, where there is any), `plain` leaves them alone;
`flash` and `no-flash` say which attention it uses (its own choice when neither is given).
"""

from __future__ import annotations

import sys
import time
from importlib import metadata
from typing import Any

import llama_cpp as api
import protocol

CHUNK = 512


def _model(path: str, extra: bool) -> Any:
    options = api.llama_model_default_params()
    options.use_extra_bufts = extra
    model = api.llama_model_load_from_file(path.encode(), options)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    return model


class LlamaCpp:
    """One context for single sequences, one for batches; only one is open at a time."""

    def __init__(self, path: str, threads: int, flags: list[str]) -> None:
        api.llama_backend_init()
        self.threads, self.flags = threads, flags
        self.model = _model(path, "extra" in flags)
        system = api.llama_print_system_info().decode()
        self.about = {"version": metadata.version("llama-cpp-python"), "system": system}
        self.sequences = self.length = 0
        self.context: Any = None
        self._want(1)

    def _want(self, sequences: int) -> None:
        """A context for so many sequences, unless it is there."""
        if sequences == self.sequences:
            return
        if self.context:
            api.llama_free(self.context)
        options = api.llama_context_default_params()
        options.n_ctx = protocol.CONTEXT if sequences == 1 else sequences * protocol.BATCH_CONTEXT
        options.n_batch = options.n_ubatch = CHUNK
        options.n_seq_max = sequences
        options.n_threads = options.n_threads_batch = self.threads
        flash = {"flash": api.LLAMA_FLASH_ATTN_TYPE_ENABLED, "no-flash": api.LLAMA_FLASH_ATTN_TYPE_DISABLED}
        options.flash_attn_type = next((flash[f] for f in self.flags if f in flash), api.LLAMA_FLASH_ATTN_TYPE_AUTO)
        self.context = api.llama_init_from_model(self.model, options)
        self.memory = api.llama_get_memory(self.context)
        self.sequences, self.length = sequences, 0

    def _decode(self, batch: Any) -> None:
        if api.llama_decode(self.context, batch):
            raise SystemExit("llama_decode failed")
        api.llama_synchronize(self.context)

    def _append(self, tokens: list[int]) -> None:
        """Tokens of the one sequence, with the logits of the last of each chunk."""
        for at in range(0, len(tokens), CHUNK):
            part = tokens[at : at + CHUNK]
            array = (api.llama_token * len(part))(*part)  # the batch points into it
            self._decode(api.llama_batch_get_one(array, len(part)))
        self.length += len(tokens)

    def _fill(self, depth: int) -> None:
        """Makes the sequence exactly so long; what it has already is kept."""
        if self.length > depth:
            api.llama_memory_seq_rm(self.memory, 0, depth, -1)
            self.length = depth
        self._append(protocol.ids(depth)[self.length :])

    def prefill(self, tokens: int) -> float:
        self._want(1)
        self._fill(0)
        begun = time.perf_counter()
        self._append(protocol.ids(tokens))
        return time.perf_counter() - begun

    def decode(self, tokens: int, depth: int) -> float:
        self._want(1)
        self._fill(depth)
        begun = time.perf_counter()
        for token in protocol.ids(tokens):
            self._append([token])
        return time.perf_counter() - begun

    def _step(self, batch: Any, sequences: int, tokens: list[int], position: int) -> None:
        """Appends the same tokens to each sequence, whose length is `position`; with the logits of the last of each."""
        batch.n_tokens = sequences * len(tokens)
        for i in range(batch.n_tokens):
            sequence, j = divmod(i, len(tokens))
            batch.token[i], batch.pos[i], batch.logits[i] = tokens[j], position + j, j == len(tokens) - 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        self._decode(batch)

    def batch(self, sequences: int, steps: int) -> float:
        self._want(protocol.MAX_SEQUENCES)
        api.llama_memory_clear(self.memory, True)
        batch = api.llama_batch_init(sequences * protocol.BATCH_PROMPT, 0, 1)
        self._step(batch, sequences, protocol.ids(protocol.BATCH_PROMPT), 0)
        begun = time.perf_counter()
        for i, token in enumerate(protocol.ids(steps)):
            self._step(batch, sequences, [token], protocol.BATCH_PROMPT + i)
        seconds = time.perf_counter() - begun
        api.llama_batch_free(batch)
        return seconds


if __name__ == "__main__":
    protocol.serve(LlamaCpp(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")))
