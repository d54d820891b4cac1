"""How busy others keep the machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.others import Others, busy_ticks, process_ticks

SPIN = [sys.executable, "-c", "while True: pass"]


def test_ticks_are_read_from_the_kernels_tables() -> None:
    assert busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 64\ncpu0 0 0 0\n") == 1 + 2 + 4 + 8 + 16 + 32
    fields = " ".join(str(i) for i in range(3, 40))  # numbered as in proc(5): 14 is user time, 15 system time
    assert process_ticks(f"77 (a) name) {fields}") == 14 + 15


def test_our_own_ticks_are_those_of_this_process() -> None:
    times = os.times()
    ticks = process_ticks(Path("/proc/self/stat").read_text())
    assert abs(ticks / os.sysconf("SC_CLK_TCK") - times.user - times.system) < 0.1


def test_a_worker_of_ours_is_not_another() -> None:
    """The same spinning process counts when it is not named as ours, and does not when it is."""
    with subprocess.Popen(SPIN) as spinning:
        named, unnamed = Others([spinning.pid]), Others([])
        time.sleep(0.5)
        difference = unnamed.cores([]) - named.cores([spinning.pid])
        used = process_ticks(Path(f"/proc/{spinning.pid}/stat").read_text())
        spinning.kill()
    assert used > 0 and 0 < difference
