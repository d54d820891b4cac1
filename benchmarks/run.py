"""llmc beside its peers and the machine's limits, in one run. `make bench` calls it.

    python -m benchmarks.run [--pairs 9] [--all] [--7b] [--shape llama-1b] [--kind q4_0] [--threads 2] [--only decode]

Without options a bounded set is measured, about a quarter of an hour on two cores. Tables go to standard output; a JSON document
with every raw figure and, where matplotlib is installed, a plot go to build/bench. benchmarks/README.md says how to read them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import cases, machine, measure, models, plot, report
from benchmarks.cases import Case
from benchmarks.engines import CTRANSLATE2, LLAMA_CPP, Engines
from benchmarks.make_model import KINDS, SHAPES
from benchmarks.measure import Bench
from benchmarks.process import CommandError
from benchmarks.worker import WorkerError

PEERS = Path("build") / "peers" / "bin" / "python"  # where `make peers` puts them
LEAST_PAIRS = 2


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    python = str(PEERS.absolute()) if PEERS.exists() else sys.executable
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each question (default 5)")
    parser.add_argument("--all", action="store_true", help="1B and 0.5B in every format, 1 and 2 threads: hours")
    parser.add_argument("--7b", action="store_true", dest="large", help="everything of the 7B shape")
    parser.add_argument("--shape", choices=[*SHAPES], help="everything of this shape")
    parser.add_argument("--kind", choices=[*KINDS], help="this format only")
    parser.add_argument("--threads", type=int, help="this many only")
    parser.add_argument("--only", default="", metavar="TEXT", help="what has TEXT in its name: decode, start...")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no other question after so long")
    parser.add_argument("--target", default="cpu:native")
    parser.add_argument("--keep", action="store_true", help="use artifacts that are there; do not measure compiling")
    parser.add_argument("--llama-cpp", default=python, metavar="PYTHON", help="an interpreter that has llama-cpp-python")
    parser.add_argument("--ctranslate2", default=python, metavar="PYTHON", help="an interpreter that has ctranslate2")
    parser.add_argument("-o", "--out", type=Path, default=models.FOLDER / "results.json", help="the JSON document")
    found = parser.parse_args()
    if found.pairs < LEAST_PAIRS:
        parser.error(f"--pairs: at least {LEAST_PAIRS}, or there are no quartiles")
    return found


def wanted(o: argparse.Namespace) -> list[Case]:
    """The cases to measure; more threads than processors make no sense and are left out."""
    asked = {"llama-1b": o.all, "qwen-0.5b": o.all, "mistral-7b": o.large, o.shape: o.shape}
    shapes = tuple(shape for shape, wish in asked.items() if wish)
    every = cases.everything(shapes) if shapes else cases.quick()
    processors = machine.facts()["processors"]

    def keep(case: Case) -> bool:
        fits = case.threads <= processors and o.threads in (None, case.threads)
        return fits and o.kind in (None, case.model.kind)

    return [*cases.chosen(every, keep, o.only)]


def _least_memory(case: Case) -> dict[str, int]:
    """What generation must hold: the weights and the f16 cache of a full context."""
    s = SHAPES[case.model.shape]
    cache = measure.CONTEXT * s.layers * 2 * s.kv_heads * s.head_dim * 2
    return {"weights_bytes": case.model.weights.stat().st_size, "cache_bytes": cache}


def _late(o: argparse.Namespace, document: dict[str, Any], name: str) -> bool:
    """Whether the time that was allowed is over; notes what is left out for it."""
    late = time.time() - _BEGUN > 60 * o.minutes
    if late:
        document["errors"].append(f"not measured: {name}: --minutes {o.minutes:g} are over")
    return bool(late)


def measure_case(case: Case, who: Engines, o: argparse.Namespace, document: dict[str, Any]) -> None:
    """Adds what a case gives to the document, bit by bit: what was measured stays when something fails."""
    name = f"{case.model}, {case.threads} thread{'s' * (case.threads > 1)}"
    case.model.make()
    if str(case.model) not in document["builds"] and not (o.keep and case.model.artifact.exists()):
        say(f"{case.model}: compiling twice on one core")
        document["builds"][str(case.model)] = models.compiled(case.model, o.target)

    def keep(measured: measure.Measured) -> None:
        row = report.result(measured, str(case.model), case.threads)
        document["results"].append(row)
        _save(o.out, document)
        ratios = ", ".join(f"{report.quartiles(q)} of {peer}" for peer, q in row["llmc_over"].items())
        say(f"{name}, {row['name']}: {row['tokens_per_second'].get('llmc', {}).get('median', 0):.1f}/s, {ratios}")

    if case.start:
        try:
            keep(measure.start(who, case.model, case.threads, o.pairs))
        except CommandError as error:
            document["errors"].append(f"failed: {name}, start to first token: {error}")
        if o.only in "memory":
            entry = {**_least_memory(case), "engines": measure.memory(who, case.model, case.threads)}
            document["memory"][name] = entry
    with Bench(who, case.model, case.threads, say) as bench:
        for question in case.questions:
            if _late(o, document, f"{name}, {question.name}"):
                continue
            try:
                keep(bench.ask(question, o.pairs))
            except WorkerError as error:
                document["errors"].append(f"failed: {name}, {question.name}: {error}")
        document["workers"][name] = bench.about


def main() -> int:
    o = options()
    who = Engines.find({LLAMA_CPP: o.llama_cpp, CTRANSLATE2: o.ctranslate2})
    document: dict[str, Any] = {
        "command": sys.argv[1:], "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "pairs": o.pairs,
        "machine": machine.facts(), "peers": {"versions": who.versions, "absent": who.absent},
        "workers": {}, "builds": {}, "results": [], "memory": {}, "errors": [],
    }  # fmt: skip
    for case in wanted(o):
        if _late(o, document, f"{case.model}, {case.threads} threads"):
            continue
        try:
            measure_case(case, who, o, document)
        except CommandError as error:
            document["errors"].append(f"failed: {case.model}, {case.threads} threads: {error}")
        _save(o.out, document)
    print(report.render(document))
    say(f"{o.out} has every figure")
    say(plot.write(document, o.out.with_suffix(".svg")))
    failed = document["errors"] or any("llmc" in row["failed"] for row in document["results"])
    return 1 if failed else 0


def _save(path: Path, document: dict[str, Any]) -> None:
    document["seconds"] = time.time() - _BEGUN
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


_BEGUN = time.time()

if __name__ == "__main__":
    sys.exit(main())
