"""One engine in a process of its own, asked for one timing at a time: `python -m benchmarks.workers ENGINE MODEL THREADS`.

Reads lines "prefill N" or "decode N" on stdin and answers each with seconds. Engines: llmc (an artifact), llama.cpp (a GGUF file,
through the llama-cpp-python package of the interpreter that runs this), memory (a file that is only read). Nothing of the project
is imported before an engine needs it, so that a peer's own environment can run this file by its path.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

CONTEXT = 2048
READ_LOOP = Path(__file__).with_name("read_loop.c")


class Engine(Protocol):
    def prefill(self, tokens: int) -> float: ...
    def decode(self, tokens: int) -> float: ...


class Llmc:
    """Through the binding; prompts and tokens are arbitrary ids."""

    def __init__(self, model: str, threads: int) -> None:
        import llmc

        self.model = llmc.load(model, threads=threads, context=CONTEXT)
        self.session = self.model.session(context=CONTEXT, threads=threads)
        self.sequence = self.session.open()

    def prefill(self, tokens: int) -> float:
        self.session.truncate(self.sequence)
        begun = time.perf_counter()
        self.session.prefill(self.sequence, [*range(tokens)])
        return time.perf_counter() - begun

    def decode(self, tokens: int) -> float:
        begun = time.perf_counter()
        for token in range(tokens):
            self.session.prefill(self.sequence, [token])
        return time.perf_counter() - begun


class LlamaCpp:
    """llama-cpp-python's low-level calls. Threads given as "2:repack" let it repack weights (and use AMX) when it loads."""

    def __init__(self, model: str, threads: int, repack: bool) -> None:
        import llama_cpp as api

        self.api: Any = api
        api.llama_backend_init()
        of_model = api.llama_model_default_params()
        of_model.use_extra_bufts = repack
        self.model = api.llama_model_load_from_file(model.encode(), of_model)
        of_context = api.llama_context_default_params()
        of_context.n_ctx, of_context.n_batch, of_context.n_ubatch = CONTEXT, 512, 512
        of_context.n_threads = of_context.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, of_context)

    def _decode(self, ids: list[int]) -> None:
        array = (self.api.llama_token * len(ids))(*ids)
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(array, len(ids))):
            raise RuntimeError("llama_decode failed")

    def prefill(self, tokens: int) -> float:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        begun = time.perf_counter()
        self._decode([*range(tokens)])
        return time.perf_counter() - begun

    def decode(self, tokens: int) -> float:
        begun = time.perf_counter()
        for token in range(tokens):
            self._decode([token])
        return time.perf_counter() - begun


class Memory:
    """The read loop: every byte of the file once, by `threads` threads. Stands for the limit of decoding one token."""

    def __init__(self, model: str, threads: int) -> None:
        program = Path(sys.argv[0]).resolve().parent.parent / "build" / "bench" / "read_loop"
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-march=native", "-o", program, READ_LOOP, "-lpthread"], check=True)
        command = [str(program), model, str(threads)]
        self.loop = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def prefill(self, tokens: int) -> float:
        return float("nan")

    def decode(self, tokens: int) -> float:
        """Seconds of `tokens` passes over the file."""
        assert self.loop.stdin is not None and self.loop.stdout is not None
        self.loop.stdin.write(f"{tokens}\n")
        self.loop.stdin.flush()
        return float(self.loop.stdout.readline())


def engine(name: str, model: str, threads: str) -> Engine:
    if name == "llmc":
        return Llmc(model, int(threads))
    if name == "memory":
        return Memory(model, int(threads))
    if name == "llama.cpp":
        count, _, repack = threads.partition(":")
        return LlamaCpp(model, int(count), repack == "repack")
    raise SystemExit(f"unknown engine {name}")


def main() -> None:
    worker = engine(*sys.argv[1:4])
    print("ready", flush=True)
    for line in sys.stdin:
        what, count = line.split()
        print((worker.prefill if what == "prefill" else worker.decode)(int(count)), flush=True)


if __name__ == "__main__":
    main()
