"""libllmc, the loader that Python and every other host language links: compiled on first use into the user's cache.

A C program is built against it with

    cc chat.c $(python -m llmc.runtime.library) -o chat
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from pathlib import Path

from llmc import debug
from llmc.toolchain import Toolchain, runtime_include, runtime_sources


def path(toolchain: Toolchain | None = None) -> Path:
    """The library for this machine, of these sources; built if it is not in the cache. Raises ToolchainError."""
    tools = toolchain or Toolchain.find()
    kept = debug.cache_dir() / "lib" / f"libllmc-{_key(tools)}.so"
    if not kept.exists():
        _build(tools, kept)
    return kept


def _key(tools: Toolchain) -> str:
    files = [*runtime_sources("loader"), *(h for folder in runtime_include() for h in sorted(folder.glob("*.h")))]
    digest = hashlib.sha256(tools.identity.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _build(tools: Toolchain, kept: Path) -> None:
    """Linked beside and renamed: two processes may do this at once."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    objects = tools.compile(runtime_sources("loader"), include=runtime_include())
    with tempfile.TemporaryDirectory(prefix=".link-", dir=kept.parent) as beside:
        out = Path(beside) / kept.name
        tools.link_shared(objects, out, exports=["llmc_*"])
        os.replace(out, kept)


def flags() -> str:
    """What a C compiler needs to find llmc.h and libllmc; the program then finds the library where it is now."""
    return f"-I{shlex.quote(str(runtime_include()[0]))} {shlex.quote(str(path()))}"


if __name__ == "__main__":
    print(flags())
