"""Kernel specs to object files, through a cache keyed by content.

An object is a function of the spec, the level, TVM's version and the source of every llmc module its generator imports; the key
is the hash of those. Missing objects are made by worker processes (`codegen/build_worker.py`), so that this process never
imports TVM, and a build that finds everything in the cache starts no process at all.
"""

import ast
import contextlib
import hashlib
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llmc import debug
from llmc.codegen.kernels.base import KernelSpec, serving
from llmc.errors import ToolchainError
from llmc.target import Isa

Job = tuple[KernelSpec, Isa, Path]

_PER_WORKER = 4  # kernels that pay for another process's import of TVM
_INSTALL = "pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post0"


def build_objects(specs: Iterable[KernelSpec], isa: Isa) -> list[Path]:
    """One object file per spec, in order. Raises ToolchainError if TVM is missing or the cache cannot be written."""
    folder = debug.cache_dir() / "kernels"
    served = [(spec, serving(spec, isa)) for spec in specs]
    jobs = [(spec, level, folder / f"{spec.symbol}-{level.name}-{cache_key(spec, level)[:32]}.o") for spec, level in served]
    missing = {job[2]: job for job in jobs if not job[2].exists()}
    if missing:
        make_folder(folder)
        _build([*missing.values()])
    return [path for _, _, path in jobs]


def cache_key(spec: KernelSpec, isa: Isa) -> str:
    """SHA-256, hexadecimal, of everything an object depends on."""
    digest = hashlib.sha256()
    for text in (tvm_version(), repr(isa), repr(spec), *sources(type(spec).__module__)):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


@cache
def tvm_version() -> str:
    try:
        return f"{version('apache-tvm')} {version('apache-tvm-ffi')}"
    except PackageNotFoundError as error:
        raise ToolchainError("building kernels needs TVM, which is not installed", hint=_INSTALL) from error


@cache
def sources(module: str) -> tuple[str, ...]:
    """The source of `module`, of the builder, and of every llmc module they import, directly or not, ordered by name."""
    found: dict[str, str] = {}
    waiting = [module, "llmc.codegen.build_worker"]
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path and name not in found:
            found[name] = path.read_text(encoding="utf-8")
            waiting += _imports(found[name])
    return tuple(found[name] for name in sorted(found))


def _file(module: str) -> Path | None:
    """Where the source of an llmc module lies, without importing it; None for anything else, packages included."""
    package, _, leaf = module.rpartition(".")
    if package.partition(".")[0] != "llmc":
        return None
    if _file(package) is not None:  # `package` is a module and `leaf` a name inside it
        return None
    path = Path(import_module(package).__path__[0]) / f"{leaf}.py"
    return path if path.is_file() else None


def _imports(source: str) -> list[str]:
    """Names `source` imports anywhere in it; of `from a import b` both a and a.b."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolchainError(f"cannot write kernels to {folder}: {error.strerror}", hint="set LLMC_CACHE") from error


def _build(jobs: Sequence[Job]) -> None:
    """Runs the jobs in as many worker processes as are worth their start."""
    count = min(debug.jobs(), math.ceil(len(jobs) / _PER_WORKER))
    workers = [_start(jobs[i::count]) for i in range(count)]
    failed = [text for text in (_finish(w) for w in workers) if text]
    if failed:
        raise RuntimeError(f"building kernels failed:\n{failed[0]}")


def _start(jobs: Sequence[Job]) -> subprocess.Popen[bytes]:
    """A worker, with its jobs on their way. It writes nothing but objects and, on failure, a traceback."""
    command = [sys.executable, "-P", "-m", "llmc.codegen.build_worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert worker.stdin is not None
    try:  # and left open: a worker ends when the pipe does, so that none outlives a compile that was killed
        worker.stdin.write(pickle.dumps(jobs))
        worker.stdin.flush()
    except BrokenPipeError:  # it died early; its traceback says why
        pass
    return worker


def _finish(worker: subprocess.Popen[bytes]) -> str:
    """Waits; the error output of a worker that failed, or nothing."""
    assert worker.stdin is not None and worker.stderr is not None
    errors = worker.stderr.read()
    worker.wait()
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()
    worker.stderr.close()
    return errors.decode(errors="replace")[-4000:] or f"exit status {worker.returncode}" if worker.returncode else ""


def replace_file(path: Path, data: bytes) -> None:
    """Writes beside, then renames: a reader sees the whole file or none."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)
