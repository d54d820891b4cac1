"""`--weights`: the formats a checkpoint can be stored in on demand, and what that changed.

Matrices of layers, experts and an untied embedding take the format asked for. The output matrix, and an embedding that serves as
one, take Q6_K where fewer bits were asked for: an error there reaches every logit. Where rows are no whole blocks of 256, formats
of blocks of 32 with about as many bits take their place, as in llama.cpp; where they are no blocks of 32 either, f16.
"""

from __future__ import annotations

from typing import Any, Final

from llmc.codegen.requantize import Changes
from llmc.errors import UsageError
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import Format
from llmc.ir.quantize import NAMES
from llmc.passes.requantize_weights import Formats

HEAD: Final = "q6_k"
SMALLER_BLOCKS: Final = {"q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"}
ANY_ROW: Final = "f16"
DIGITS: Final = 6  # of errors in a report


def formats_for(name: str) -> Formats:
    """The formats that `--weights name` stores. Raises UsageError for a name that is none."""
    if name not in NAMES:
        raise UsageError(f"--weights {name}: llmc cannot make that format", hint=f"it makes {', '.join(NAMES)}")
    asked = FORMATS[name]
    head = FORMATS[HEAD] if asked.bits_per_weight < FORMATS[HEAD].bits_per_weight else asked
    return Formats(_with_replacements(head), _with_replacements(asked))


def _with_replacements(fmt: Format) -> tuple[Format, ...]:
    names = [fmt.name, SMALLER_BLOCKS.get(fmt.name), ANY_ROW if fmt.weights > 1 else None]
    return tuple(FORMATS[name] for name in names if name)


def report(asked: str, changes: Changes) -> dict[str, Any]:
    """What the manifest says: the format asked for, the relative error (root mean square) of all weights and of each tensor."""
    tensors = [
        {"name": name, "from": c.source.name, "to": c.format.name, "relative_error": _rounded(c.relative)}
        for name, c in changes.of.items()
    ]
    return {"weights": asked, "relative_error": _rounded(changes.relative), "tensors": tensors}


def _rounded(x: float) -> float:
    return float(f"{x:.{DIGITS}g}")
