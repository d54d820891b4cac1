"""What the figures were measured on, and with which versions."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import llmc
from llmc import debug, target

PACKAGES = ("apache-tvm", "numpy", "ziglang")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _first(path: Path, pattern: str) -> str:
    found = re.search(pattern, path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else ""


def facts() -> dict[str, Any]:
    """The processor, memory, system, load and versions, now."""
    return {
        "processor": _first(Path("/proc/cpuinfo"), r"^model name\s*:\s*(.*)$") or platform.processor(),
        "processors": debug.processors(),
        "native": target.native().name,
        "memory_kib": int(_first(Path("/proc/meminfo"), r"^MemTotal:\s*(\d+)") or 0),
        "system": platform.platform(),
        "huge_pages": _first(HUGE_PAGES, r"\[(\w+)\]"),
        "load": os.getloadavg(),
        "versions": {"llmc": llmc.__version__, "python": platform.python_version()} | {p: metadata.version(p) for p in PACKAGES},
    }
