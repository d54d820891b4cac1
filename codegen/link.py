"""From the plan's C text and kernel objects to the two native files of an artifact: the library and the program beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from llmc.toolchain import Toolchain, runtime_include, runtime_sources


def library(
    toolchain: Toolchain, plan: str, kernels: Sequence[Path], out: Path, *, gpu: bool = False
) -> None:
    """Compiles the plan with the runtime around it and links both with the kernels; exports llmc_api alone.
    `gpu`: with the part of the runtime that drives GPUs.

    Raises ToolchainError with the compiler's words.
    """
    include = runtime_include()
    with tempfile.TemporaryDirectory(prefix="llmc-plan-") as folder:
        source = Path(folder) / "model.c"
        source.write_text(plan, encoding="utf-8")
        sources = [source, *runtime_sources("artifact"), *(runtime_sources("gpu") if gpu else ())]
        objects = toolchain.compile(sources, include=include)
    toolchain.link_shared([*objects, *kernels], out, exports=["llmc_api"])


def program(toolchain: Toolchain, out: Path) -> None:
    """The program `run`: opens the artifact it lies in and generates text. Raises ToolchainError."""
    toolchain.link_program(toolchain.compile(runtime_sources("program"), include=runtime_include()), out)
