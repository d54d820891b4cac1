"""How busy other programs keep the machine meanwhile: engines whose threads wait for each other suffer from that most."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

BUSY = (0, 1, 2, 5, 6, 7)  # of /proc/stat's columns: user, nice, system, interrupts, and what other virtual machines took
USER_AND_SYSTEM = slice(11, 13)  # of /proc/PID/stat, after the name


def busy_ticks(stat: str) -> int:
    """Clock ticks in which some processor was busy, from the text of /proc/stat."""
    columns = stat.split("\n", 1)[0].split()[1:]
    return sum(int(columns[i]) for i in BUSY)


def process_ticks(stat: str) -> int:
    """Clock ticks that a process used, from the text of /proc/PID/stat."""
    return sum(map(int, stat.rsplit(")", 1)[1].split()[USER_AND_SYSTEM]))


def _own_ticks(workers: Sequence[int]) -> float:
    """Of this process, its children that have ended, and the workers that run."""
    times = os.times()
    ended = (times.user + times.system + times.children_user + times.children_system) * os.sysconf("SC_CLK_TCK")
    return ended + sum(process_ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in workers)


class Others:
    """Counts from when it is made."""

    def __init__(self, workers: Sequence[int]) -> None:
        self._begun, self._before = time.monotonic(), self._foreign(workers)

    def _foreign(self, workers: Sequence[int]) -> float:
        return busy_ticks(Path("/proc/stat").read_text()) - _own_ticks(workers)

    def cores(self, workers: Sequence[int]) -> float:
        """Processors that others kept busy on average; `workers` are the process ids of ours that run now."""
        ticks = (self._foreign(workers) - self._before) / (time.monotonic() - self._begun)
        return max(0.0, ticks / os.sysconf("SC_CLK_TCK"))
