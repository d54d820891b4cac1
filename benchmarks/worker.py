"""An engine in a process of its own, stopped whenever it is not asked: its waiting threads take nothing from the others."""

from __future__ import annotations

import ctypes
import json
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

LOAD_SECONDS, ANSWER_SECONDS = 300.0, 600.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """In the child: a stopped worker would otherwise outlive a parent that is killed, and keep its gigabytes."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class WorkerError(Exception):
    """The worker ended or did not answer; the message says how."""


class Worker:
    """A process that answers a line with a number. `ready`: it says so first, with facts about itself."""

    def __init__(self, command: Sequence[str], ready: bool = True) -> None:
        self._said = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0, preexec_fn=_die_with_parent
        )
        self.about: dict[str, Any] = {}
        if ready:
            try:
                self.about = json.loads(self._line(LOAD_SECONDS).removeprefix("ready "))
            except BaseException:
                self.close()
                raise
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def _line(self, seconds: float) -> str:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise WorkerError(f"no answer in {seconds:.0f} s")
        line = self.process.stdout.readline().decode()
        if not line.endswith("\n"):
            raise self._ended()
        return line

    def ask(self, question: str) -> float:
        """The worker runs only while it answers."""
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        try:
            self.process.stdin.write(f"{question}\n".encode())
            return float(self._line(ANSWER_SECONDS))
        except BrokenPipeError:
            raise self._ended() from None
        finally:
            self._signal(signal.SIGSTOP)

    def _ended(self) -> WorkerError:
        """How the process ended, and the last line it said."""
        status = self.process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return WorkerError(f"ended with {how}; its last words: {last[-200:]}")

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._said):
            if stream:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
