"""Builds the C programs of `probes/`, each only when its source has changed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.models import FOLDER
from benchmarks.process import run

SOURCES = Path(__file__).with_name("probes")


def build(name: str, flags: Sequence[str] = ()) -> Path:
    """The program of probes/NAME.c, for this processor. Raises CommandError."""
    source = SOURCES / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + repr(flags).encode()).hexdigest()[:16]
    program = FOLDER / f"{name}-{key}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        run([sys.executable, "-m", "ziglang", "cc", "-O2", "-march=native", str(source), "-o", str(program), "-lpthread", *flags])
    return program.absolute()
