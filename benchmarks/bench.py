"""Makes a synthetic model, compiles it, measures the result, prints one JSON document. `make bench` calls it.

    python -m benchmarks.bench llama-1b q4_k_m [--target cpu:native] [--cold]

--cold compiles with an empty kernel cache, as a first compile of a format would.
"""

import argparse
import json
import platform
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import make_model
from llmc import debug, target

FOLDER = Path("build") / "bench"


def llmc(*arguments: object) -> dict[str, Any]:
    """Runs a command of the command line and gives its JSON document; ends this program with the exit code of one that fails."""
    command = [sys.executable, "-m", "llmc", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def model(name: str, kind: str) -> Path:
    """The synthetic model, made unless it is there."""
    path = FOLDER / f"{name}-{kind}.gguf"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        make_model.make(name, kind, beside)
        beside.rename(path)
    return path


def compiled(source: Path, targets: str, cold: bool) -> dict[str, Any]:
    """Compiles and adds the largest resident memory of any process that took part, in bytes."""
    out = source.with_suffix(".llmc")
    with tempfile.TemporaryDirectory() as empty, debug.scoped(**({"LLMC_CACHE": empty} if cold else {})):
        document = llmc("compile", source, "--target", targets, "-o", out)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {**document, "peak_rss_bytes": peak, "cold_kernel_cache": cold}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.*)$", info.read_text() if info.exists() else "", re.MULTILINE)
    processor = name[1] if name else platform.processor()
    return {"processor": processor, "processors": debug.processors(), "native": target.native().name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*make_model.SHAPES])
    parser.add_argument("kind", choices=[*make_model.KINDS])
    parser.add_argument("--target", default="cpu:native")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--threads", type=int)
    a = parser.parse_args()
    compiling = compiled(model(a.name, a.kind), a.target, a.cold)
    threads = ["--threads", a.threads] if a.threads else []
    measured = llmc("bench", compiling["path"], *threads)
    print(json.dumps({"model": f"{a.name} {a.kind}", "machine": machine(), "compile": compiling, "run": measured}, indent=1))


if __name__ == "__main__":
    main()
