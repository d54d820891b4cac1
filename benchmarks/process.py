"""Runs a command once and says when its first output came, when it ended, and how much memory it took."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """Times in seconds from the start. `peak_bytes` is the largest resident memory of it or any process it waited for.

    A child begins as a copy of this process, so that less memory than this process has itself cannot be seen.
    """

    first_output: float
    seconds: float
    peak_bytes: int
    output: bytes


class CommandError(Exception):
    """The command failed; the message has its status and the end of what it said."""


def run(command: Sequence[str], cpus: set[int] | None = None, environment: Mapping[str, str] | None = None) -> Run:
    """Where nothing is printed, the first output counts as coming at the end. Raises CommandError."""

    def restrict() -> None:
        if cpus:
            os.sched_setaffinity(0, cpus)

    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, env=environment, preexec_fn=restrict if cpus else None, bufsize=0
        )
        assert child.stdout is not None
        with child.stdout as out:
            output = out.read(1)
            first = time.perf_counter() - begun
            output += out.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace")[-400:].strip()
            raise CommandError(f"{command[0]} gave exit status {child.returncode}: {words}")
    return Run(first, seconds, usage.ru_maxrss * 1024, output)
