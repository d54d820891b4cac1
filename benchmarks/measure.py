"""Asks every engine the same question in turn, and records every answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import engines
from benchmarks.cases import Question
from benchmarks.engines import LLAMA_CPP, LLMC, Engines
from benchmarks.models import Model
from benchmarks.others import Others
from benchmarks.process import CommandError, Run, run
from benchmarks.statistics import fastest, rounds
from benchmarks.worker import Worker, WorkerError

TRIALS = 2
PROBED_SECONDS = 0.1
PROMPT = "Once upon a time there was a"
LONG_PROMPT, LONG_TOKENS, CONTEXT = " to" * 1900, 32, 2048
Say = Callable[[str], None]


@dataclass
class Measured:
    """All that one question gave. Lists have one entry per round; `limit` is the least time possible, as measured in that round.

    seconds  by engine, in the way chosen for it     trials  by engine and way, before the rounds     failed  by engine, why
    others   processors that other programs kept busy during the rounds
    """

    name: str
    tokens: int
    ways: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    limit: list[float] = field(default_factory=list)
    probes: dict[str, list[float]] = field(default_factory=dict)
    trials: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    others: float = 0.0

    def add_trials(self, engine: str, trials: dict[str, list[float]]) -> None:
        if trials:
            self.trials[engine], self.ways[engine] = trials, fastest(trials)


class Bench:
    """The workers of one model and thread count, each started when first asked; close() ends them."""

    def __init__(self, who: Engines, model: Model, threads: int, say: Say) -> None:
        self.who, self.model, self.threads, self.say = who, model, threads, say
        self._workers: dict[tuple[str, str], Worker] = {}
        self._limits: dict[str, Worker] = {}
        self.about: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._workers.values(), *self._limits.values()):
            worker.close()

    def _worker(self, engine: str, way: str, command: list[str]) -> Worker:
        if (engine, way) not in self._workers:
            worker = self._workers[engine, way] = Worker(command)
            self.about[f"{engine} {way}".strip()] = worker.about
        return self._workers[engine, way]

    def _try(self, engine: str, way: str, command: list[str], question: str) -> list[float]:
        """Answers of the trial. Raises WorkerError, after which the worker is gone."""
        try:
            worker = self._worker(engine, way, command)
            return [worker.ask(question) for _ in range(TRIALS)]
        except WorkerError:
            with contextlib.suppress(KeyError):
                self._workers.pop((engine, way)).close()
            raise

    def _choose(self, q: Question, result: Measured) -> None:
        """Tries each way of each engine and settles on its fastest; a way that fails is out, and said to be."""
        result.failed |= {engine: why for engine, why in q.not_asked.items() if engine in self.who.names()}
        for engine in self.who.names():
            if engine in q.not_asked:
                continue
            trials: dict[str, list[float]] = {}
            try:
                ways = self.who.workers(engine, self.model, self.threads)
            except CommandError as error:
                result.failed[engine] = str(error)
                continue
            for way, command in ways.items():
                if engine == LLAMA_CPP and way not in q.flags:
                    continue
                try:
                    trials[way] = self._try(engine, way, command, q.try_first)
                except WorkerError as error:
                    result.failed[f"{engine} {way}".strip()] = str(error)
            result.add_trials(engine, trials)

    def _probe(self, q: Question, result: Measured) -> None:
        """One round of the limits."""
        if not self._limits:
            commands = engines.limits(self.model, self.threads)
            self._limits = {name: Worker(command, ready=False) for name, command in commands.items()}
        passes = min(q.passes, 8)
        pass_seconds = self._limits["memory"].ask(str(passes)) / passes if passes else 0.0
        peaks = {what: self._limits["compute"].ask(f"{what} {PROBED_SECONDS}") for what in ("amx", "vnni")}
        limit = q.limit_seconds(self.model, pass_seconds, max(peaks.values()))
        for name, value in {"pass seconds": pass_seconds, **{f"{k} operations/s": v for k, v in peaks.items()}}.items():
            result.probes.setdefault(name, []).append(value)
        if limit:
            result.limit.append(limit)

    def ask(self, q: Question, count: int) -> Measured:
        """The trial, then `count` rounds in which each engine and the limits are asked once, in turn."""
        result = Measured(q.name, q.tokens)
        self._choose(q, result)
        if LLMC not in result.ways:
            return result
        others = Others(self._pids())
        for order in rounds([*result.ways, ""], count):
            for engine in order:
                if not engine:
                    self._probe(q, result)
                elif engine in result.ways:
                    self._answer(q, engine, result)
        result.others = others.cores(self._pids())
        return result

    def _pids(self) -> list[int]:
        return [w.process.pid for w in (*self._workers.values(), *self._limits.values())]

    def _answer(self, q: Question, engine: str, result: Measured) -> None:
        """Adds the seconds of one engine. A peer that fails is out of this question; when llmc does, WorkerError."""
        worker = self._workers[engine, result.ways[engine]]
        try:
            if q.warm_up:
                worker.ask(q.warm_up)
            result.seconds.setdefault(engine, []).append(worker.ask(q.ask))
        except WorkerError as error:
            self._workers.pop((engine, result.ways[engine])).close()
            if engine == LLMC:
                raise
            result.failed[engine] = str(error)
            result.seconds.pop(engine, None)
            del result.ways[engine]


def start(who: Engines, model: Model, threads: int, count: int) -> Measured:
    """From the start of a process to the first token, files in the page cache; every engine by its own native program."""
    result = Measured("start to first token", 1)
    commands: dict[str, dict[str, list[str]]] = {}
    for engine in who.names():
        try:
            commands[engine] = who.programs(engine, model, threads, PROMPT, 1, CONTEXT)
            result.add_trials(engine, {way: [run(c).first_output for _ in range(TRIALS)] for way, c in commands[engine].items()})
        except CommandError as error:
            result.failed[engine] = str(error)
    with Worker(engines.limits(model, threads)["memory"], ready=False) as memory:
        others = Others([memory.process.pid])
        for order in rounds([*result.ways, ""], count):
            for engine in order:
                if engine:
                    seconds = run(commands[engine][result.ways[engine]]).first_output
                    result.seconds.setdefault(engine, []).append(seconds)
                else:
                    result.limit.append(memory.ask("1"))
        result.others = others.cores([memory.process.pid])
    return result


def memory(who: Engines, model: Model, threads: int) -> dict[str, dict[str, Any]]:
    """Peak resident bytes of each way to run each program, over a prompt that nearly fills a context of 2048."""
    found: dict[str, dict[str, Any]] = {}
    for engine in who.names():
        try:
            programs = who.programs(engine, model, threads, LONG_PROMPT, LONG_TOKENS, CONTEXT)
        except CommandError as error:
            found[engine] = {"failed": str(error)}
            continue
        for way, command in programs.items():
            try:
                done: Run = run(command)
                found[f"{engine} {way}".strip()] = {"peak_bytes": done.peak_bytes}
            except CommandError as error:
                found[f"{engine} {way}".strip()] = {"failed": str(error)}
    return found
