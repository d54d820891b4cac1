"""llmc beside a peer and beside the machine's memory, in one run: interleaved pairs, medians, quartiles, ratios. Prints JSON.

    python -m benchmarks.compare ARTIFACT MODEL.gguf [--threads 1,2] [--pairs 9] [--peer-python PYTHON] [--repack]

PYTHON is an interpreter with llama-cpp-python (pip install llama-cpp-python), this one by default. Every engine stays loaded in a
process of its own; in each pair all are asked for the same work, one after the other, the first one changing from pair to pair.
A ratio is taken inside a pair, so that what the machine does to both does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("workers.py")
PREFILL, DECODE = 512, 32


class Worker:
    """An engine that answers with seconds."""

    def __init__(self, python: str, engine: str, model: Path, threads: str) -> None:
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # waiting threads leave the cores to whoever is measured
        self.process = subprocess.Popen(
            [python, str(WORKER), engine, str(model), threads],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        self._answer(engine)

    def _answer(self, engine: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{engine} ended with exit status {self.process.wait()}")
        return line

    def seconds(self, what: str, count: int) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        return float(self._answer(what))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(workers: dict[str, Worker], what: str, count: int, pairs: int) -> dict[str, Any]:
    """Tokens per second of every engine, and llmc's ratio to each other, as [lower quartile, median, upper quartile]."""
    names = [*workers]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(pairs + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            if what == "decode" and name != "memory":
                workers[name].seconds("prefill", 8)
            seconds[name].append(workers[name].seconds(what, count))
    timed = {name: values[1:] for name, values in seconds.items()}  # the first round warms up
    ours = timed["llmc"]
    ratios = {n: quartiles([s / mine for s, mine in zip(v, ours, strict=True)]) for n, v in timed.items() if n != "llmc"}
    return {"tokens_per_second": {n: quartiles([count / s for s in v]) for n, v in timed.items()}, "llmc_over": ratios}


def quartiles(values: list[float]) -> list[float]:
    return [round(q, 3) for q in statistics.quantiles(values, n=4, method="inclusive")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--repack", action="store_true", help="let llama.cpp repack weights when it loads them")
    o = parser.parse_args()
    result: dict[str, Any] = {"artifact": str(o.artifact), "pairs": o.pairs, "repack": o.repack}
    for threads in o.threads.split(","):
        peer = Worker(o.peer_python, "llama.cpp", o.model, threads + (":repack" if o.repack else ""))
        workers = {"llmc": Worker(sys.executable, "llmc", o.artifact, threads), "llama.cpp": peer}
        prefill = measure(workers, "prefill", PREFILL, o.pairs)
        weights = next(o.artifact.glob("weights-*.bin"))
        everyone = {**workers, "memory": Worker(sys.executable, "memory", weights, threads)}
        decode = measure(everyone, "decode", DECODE, o.pairs)
        result[f"{threads} threads"] = {f"prefill {PREFILL}": prefill, f"decode {DECODE}": decode}
        for worker in everyone.values():
            worker.close()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
