"""Workers that answer lines, and processes that run once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.process import CommandError, run
from benchmarks.worker import Worker, WorkerError

ROOT = Path(__file__).resolve().parents[2]
ECHO = """
import sys
print('ready {"version": "7"}', flush=True)
for line in sys.stdin:
    if line == "fall\\n":
        sys.exit("the last line")
    print(len(line), flush=True)
"""


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def state(process: int) -> str:
    """The letter the kernel gives it: T is stopped, Z is dead and not yet waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "gone"


def test_a_worker_says_what_it_is_and_answers() -> None:
    with Worker(script(ECHO)) as worker:
        assert worker.about == {"version": "7"}
        assert [worker.ask("abc"), worker.ask("")] == [4.0, 1.0]


def test_a_worker_rests_unless_it_is_asked() -> None:
    with Worker(script(ECHO)) as worker:
        worker.ask("abc")
        until = time.monotonic() + 5
        while state(worker.process.pid) != "T" and time.monotonic() < until:
            time.sleep(0.01)
        assert state(worker.process.pid) == "T"
    assert worker.process.returncode == -signal.SIGKILL


def test_a_worker_that_ends_is_an_error_with_its_last_words() -> None:
    with Worker(script(ECHO)) as worker, pytest.raises(WorkerError, match="exit status 1; its last words: the last line"):
        worker.ask("fall")


def test_a_worker_that_crashes_before_it_is_ready_is_named_by_its_signal() -> None:
    with pytest.raises(WorkerError, match="SIGSEGV"):
        Worker(script("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))


PARENT = """
import os, signal
from benchmarks.worker import Worker
worker = Worker({command!r})
print(worker.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_dies_with_a_parent_that_is_killed(root: Path) -> None:
    killed = subprocess.run(script(PARENT.format(command=script(ECHO))), cwd=root, stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    worker, until = int(killed.stdout), time.monotonic() + 5
    while state(worker) not in ("gone", "Z") and time.monotonic() < until:
        time.sleep(0.01)
    assert state(worker) in ("gone", "Z")


def test_the_first_output_comes_before_the_end() -> None:
    done = run(script("import time; print('a', flush=True); time.sleep(0.3); print('b')"))
    assert done.output == b"a\nb\n" and done.first_output + 0.25 < done.seconds


def test_peak_memory_is_that_of_the_process() -> None:
    """Seen from a small process: below what the one that starts it holds nothing is seen."""
    command = "from benchmarks.process import run; from tests.bench.test_processes import script; "
    command += "print(run(script(\"x = b'1' * (600 << 20)\")).peak_bytes)"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 600 << 20 < int(done.stdout) < 650 << 20


def test_a_process_can_be_held_on_one_processor() -> None:
    cpu = min(os.sched_getaffinity(0))
    assert run(script("import os; print(os.sched_getaffinity(0))"), cpus={cpu}).output == f"{{{cpu}}}\n".encode()


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(CommandError, match="exit status 3: out of luck"):
        run(script("import sys; print('out of luck', file=sys.stderr); sys.exit(3)"))
