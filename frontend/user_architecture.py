"""An architecture from a file of the user's own: `llmc compile --arch my_arch.py`.

The file is Python, and it is executed, because the user asked for that; nothing that comes with a checkpoint ever is.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Final

from llmc.errors import LlmcError, UnsupportedModelError, UsageError
from llmc.frontend.arch import Architecture
from llmc.frontend.checkpoint import Checkpoint, quoted

NAME: Final = "ARCHITECTURE"
HINT: Final = "frontend/arch/README.md shows how to write one"


def read_architecture(path: Path) -> Architecture:
    """What the file calls ARCHITECTURE. Raises UsageError where it cannot be read, fails, or has no such thing."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file", hint="--arch takes a Python file")
    try:
        names = runpy.run_path(str(path), run_name=path.stem)
    except LlmcError:
        raise
    except Exception as error:
        raise UsageError(f"{path.name}{_line(error, path)}: {type(error).__name__}: {error}", hint=HINT) from error
    found = names.get(NAME)
    if not isinstance(found, Architecture):
        what = f"no {NAME}" if found is None else f"{NAME} is {type(found).__name__}"
        raise UsageError(f"{path.name}: {what}, expected an Architecture", hint=HINT)
    return found


def check_architecture(architecture: Architecture, checkpoint: Checkpoint, path: Path) -> None:
    """Raises UnsupportedModelError unless the file is for the family that the checkpoint says it is of."""
    known = (architecture.gguf,) if checkpoint.container == "gguf" else architecture.hf
    if checkpoint.architecture not in known:
        what = f"{checkpoint.key_file}: {checkpoint.architecture_key} is {quoted(checkpoint.architecture)}"
        raise UnsupportedModelError(f"{what}, but {path.name} is for {', '.join(known) or 'no class of config.json'}")


def _line(error: Exception, path: Path) -> str:
    """Where in the user's file it happened: ", line 3"."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f", line {lines[-1]}" if lines else ""
