"""Every environment variable llmc reads, in one typed place. Nothing else in llmc looks at the environment.

    LLMC_DUMP=DIR            write each pass's graph before and after, and a timing table, into DIR
    LLMC_PASSES=-a,-b        leave passes a and b out
    LLMC_CACHE=DIR           kernel objects and the loader library; otherwise $XDG_CACHE_HOME/llmc, otherwise ~/.cache/llmc
    LLMC_JOBS=N              processes that build kernels; otherwise one per processor this process may use
    NO_COLOR=1               no colours on the terminal (no-color.org)

Variables are read when asked for, never at import. Tests set one for a while with `scoped`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmc.errors import UsageError

VARIABLES = {
    "LLMC_DUMP": "directory for graphs before and after each pass, and timings",
    "LLMC_PASSES": "passes to leave out, as -name,-name",
    "LLMC_CACHE": "directory for kernel objects and the loader library",
    "LLMC_JOBS": "processes that build kernels",
    "NO_COLOR": "any value: no colours on the terminal",
}


def dump_dir() -> Path | None:
    """Where to write the graphs of each pass, or None."""
    value = os.environ.get("LLMC_DUMP")
    return Path(value) if value else None


def disabled_passes() -> frozenset[str]:
    """Passes to leave out; whether they exist is the pipeline's to say. Raises UsageError for an entry without its minus."""
    entries = [e.strip() for e in os.environ.get("LLMC_PASSES", "").split(",") if e.strip()]
    for entry in entries:
        if not entry.startswith("-") or entry == "-":
            raise UsageError(f"LLMC_PASSES: {entry!r} is not of the form -name", hint="for example LLMC_PASSES=-fuse_silu_mul")
    return frozenset(e[1:] for e in entries)


def cache_dir() -> Path:
    """Where built kernels and the loader library are kept between runs. Not created here."""
    own = os.environ.get("LLMC_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "llmc"


def jobs() -> int:
    """How many processes may build kernels at once, at least 1. Raises UsageError for anything but a positive number."""
    value = os.environ.get("LLMC_JOBS")
    if not value:
        return processors()
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"LLMC_JOBS={value!r} is not a positive number")
    return int(value)


def processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def no_color() -> bool:
    """Whether colours are unwelcome."""
    return bool(os.environ.get("NO_COLOR"))


def environment(**defaults: str) -> dict[str, str]:
    """The environment for a program we start: ours, and `defaults` where it has nothing else to say."""
    return {**defaults, **os.environ}


@contextmanager
def scoped(**values: str | None) -> Iterator[None]:
    """Sets variables of VARIABLES (None removes one) inside a with block, and puts the old values back."""
    unknown = values.keys() - VARIABLES.keys()
    assert not unknown, unknown
    old = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(old)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
