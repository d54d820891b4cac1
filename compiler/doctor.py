"""`llmc doctor`: whether this machine can compile and run models, and what to do where it cannot.

Nothing is imported that could crash: versions come from package metadata, so a wrong tvm-ffi is named, not met as a segfault.
"""

import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from llmc import debug, target
from llmc.errors import LlmcError
from llmc.version import VERSION

# Pinned in pyproject.toml too; a test compares them.
PINS = {
    "apache-tvm": ("0.27.0.post1", "the kernels are built with this version's passes"),
    "apache-tvm-ffi": ("0.1.14.post0", "0.1.15 crashes in save_json and in every tensorize"),
    "ziglang": ("0.17.1", "the C compiler and linker, whose bytes are part of an artifact; --cc takes another"),
}


@dataclass(frozen=True)
class Check:
    """One line of the report. `state` is "ok", "warn" (llmc works, something is worth knowing) or "bad" (compiling will fail)."""

    name: str
    state: str
    found: str
    hint: str | None = None


def examine() -> dict[str, Any]:
    """Runs every check: {"ok": none is bad, "version", "checks": [...]}."""
    checks = [_python(), *(_pin(name) for name in PINS), _cache(debug.cache_dir()), _isa(), _threads()]
    return {"ok": all(c.state != "bad" for c in checks), "version": VERSION, "checks": [asdict(c) for c in checks]}


def text(result: dict[str, Any]) -> str:
    """The report for a reader."""
    lines = []
    for check in result["checks"]:
        lines.append(f"{check['state']:<5} {check['name']:<15} {check['found']}")
        if check["hint"]:
            lines.append(f"{'':22}{check['hint']}")
    end = "everything is here" if result["ok"] else "compiling will fail until the lines marked bad are mended"
    return "\n".join([*lines, end])


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pin(package: str) -> Check:
    wanted, why = PINS[package]
    found = _version(package)
    if found == wanted:
        return Check(package, "ok", found)
    return Check(package, "bad", found or "missing", f"pip install {package}=={wanted}: {why}")


def _cache(path: Path) -> Check:
    """Whether the directory, or the nearest one above it that exists, can be written."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        kept = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        return Check("cache", "ok", f"{path}, {kept / 1e6:.1f} MB")
    return Check("cache", "bad", f"{path} cannot be written", "set LLMC_CACHE to a directory that can")


def _isa() -> Check:
    try:
        return Check("processor", "ok", f"runs {', '.join(target.listing()['runs_here'])}; cpu:native is {target.native().name}")
    except LlmcError as error:
        return Check("processor", "warn", error.message, "artifacts for other machines can be compiled, not run here")


def _threads() -> Check:
    return Check("threads", "ok", f"{debug.processors()} processors may be used")
