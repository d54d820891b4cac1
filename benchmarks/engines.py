"""Who takes part: llmc, the peers that are installed, in the ways they can be run, and why others are absent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import build_probes, models
from benchmarks.models import Model
from benchmarks.process import CommandError, run

WORKERS = Path(__file__).with_name("peers")
LLMC, LLAMA_CPP, CTRANSLATE2 = "llmc", "llama.cpp", "ctranslate2"
PACKAGES = {LLAMA_CPP: "llama-cpp-python", CTRANSLATE2: "ctranslate2"}
NOT_COVERED = {"openvino-genai": "there is no worker for it here"}
FLAGS = ("extra,flash", "extra,no-flash", "plain,flash")  # of llama.cpp: weights repacked or not, and which attention


@dataclass
class Engines:
    """`python` is the interpreter of each peer that is present; `absent` says why for the others."""

    python: Mapping[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, pythons: Mapping[str, str]) -> Engines:
        """Asks the interpreter given for each peer whether it has the package."""
        found = cls(pythons, absent=dict(NOT_COVERED))
        for name, python in pythons.items():
            version = _version(python, PACKAGES[name])
            if version:
                found.versions[name] = version
            else:
                found.absent[name] = f"{python} has no {PACKAGES[name]}; benchmarks/README.md says how to install it"
        return found

    def names(self) -> list[str]:
        return [LLMC, *self.versions]

    def workers(self, engine: str, model: Model, threads: int) -> dict[str, list[str]]:
        """The command of each way to run an engine that answers `protocol`'s questions. Raises CommandError."""
        if engine == LLMC:
            return {"": _worker(sys.executable, "llmc", model.artifact, threads)}
        if engine == LLAMA_CPP:
            return {f: [*_worker(self.python[engine], "llama_cpp", model.gguf, threads), f] for f in FLAGS}
        folder = models.ctranslate2(model, self.python[engine])
        return {"int8": _worker(self.python[engine], "ctranslate2", folder, threads)}

    def programs(self, engine: str, model: Model, threads: int, prompt: str, tokens: int, context: int) -> dict[str, list[str]]:
        """The command of each way to generate text in one process, with the engine's own program; none where it has none."""
        if engine == LLMC:
            counts = ["-n", str(tokens), "-t", str(threads), "--context", str(context)]
            return {"": [str(model.artifact / "run"), "-p", prompt, *counts, "--ignore-end", "--show-special"]}
        if engine == LLAMA_CPP:
            theirs = [str(self._llama_cpp_run()), str(model.gguf), prompt, str(tokens), str(threads), str(context)]
            return {"plain": [*theirs, "0"], "extra": [*theirs, "1"]}
        return {}

    def _llama_cpp_run(self) -> Path:
        """Linked to the very library that the worker uses."""
        find = "import importlib.util as u; print(u.find_spec('llama_cpp').origin)"
        package = Path(run([self.python[LLAMA_CPP], "-c", find]).output.decode()).parent
        include, library = package.parent / "include", package / "lib"
        if not (include / "llama.h").exists():
            raise CommandError(f"{include} has no llama.h, so llama.cpp's start cannot be measured without an interpreter")
        return build_probes.build("llama_cpp_run", [f"-I{include}", str(library / "libllama.so"), f"-Wl,-rpath,{library}"])


def _worker(python: str, name: str, model: Path, threads: int) -> list[str]:
    return [python, str(WORKERS / f"{name}_worker.py"), str(model), str(threads)]


def _version(python: str, package: str) -> str | None:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if not done.returncode else None


def limits(model: Model, threads: int) -> dict[str, Sequence[str]]:
    """The commands of the probes: `memory` answers "N" with the seconds of N passes over the weights, `compute` as in peak.c."""
    return {
        "memory": [str(build_probes.build("read_loop")), str(model.weights), str(threads)],
        "compute": [str(build_probes.build("peak")), str(threads)],
    }
