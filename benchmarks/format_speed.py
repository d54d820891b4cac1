"""How near artifacts come to the memory of the machine when they decode: a line each, tokens per second and the share of a loop
that only reads the same mapped weights, taken in rounds in which both are asked in turn.

    python -m benchmarks.format_speed ARTIFACT... [--threads 2] [--rounds 7]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import build_probes
from benchmarks.engines import WORKERS
from benchmarks.statistics import rates, ratio
from benchmarks.worker import Worker

DECODED, PASSES = 32, 4


def measure(artifact: Path, weights: Path, threads: int, rounds: int) -> str:
    """One line of the report."""
    probe = [str(build_probes.build("read_loop")), str(weights), str(threads)]
    llmc = [sys.executable, str(WORKERS / "llmc_worker.py"), str(artifact), str(threads)]
    seconds: list[float] = []
    reading: list[float] = []
    with Worker(llmc) as worker, Worker(probe, ready=False) as memory:
        for i in range(rounds + 1):
            seconds.append(worker.ask(f"decode {DECODED} 0") / DECODED)
            reading.append(memory.ask(str(PASSES)) / PASSES)
            if i == 0:  # warms up
                seconds.clear()
                reading.clear()
    size, share = weights.stat().st_size, ratio(seconds, reading)
    speed = rates(seconds, 1).median
    quartiles = f"{share.median:.2f} ({share.lower:.2f}-{share.upper:.2f})"
    rate = f"{speed:7.2f} tokens/s {speed * size / 1e9:6.2f} GB/s"
    return f"{artifact.stem:<10} {size / 1e6:7.1f} MB {rate}, {quartiles} of the read loop"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    o = parser.parse_args()
    for artifact in o.artifacts:
        (weights,) = artifact.glob("weights*.bin")
        print(measure(artifact, weights, o.threads, o.rounds), flush=True)


if __name__ == "__main__":
    main()
