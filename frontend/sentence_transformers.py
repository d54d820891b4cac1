"""modules.json of sentence-transformers: what becomes of the states of a text's tokens.

    Transformer, Pooling, any number of Dense, perhaps Normalize; each but the first with a folder of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.json_file import read_json, read_json_array

MODULES: Final = "modules.json"
CONFIG: Final = "config.json"
MAX_JSON: Final = 1 << 20
MAX_MODULES: Final = 16
MODES: Final = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last",
}  # fmt: skip
NAMES: Final = ("mean", "cls", "last")  # of newer files
LAST_NAME: Final = {"lasttoken": "last"}
FUNCTIONS: Final = {"Identity": "", "Tanh": "tanh", "ReLU": "relu"}
"""Classes of torch.nn -> the op."""


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: `folder` has its weights; function: the op that follows it, "" for none."""

    folder: str
    columns: int
    rows: int
    bias: bool
    function: str


@dataclass(frozen=True)
class Modules:
    """pooling: "mean", "cls" or "last"; dense: layers after it, in order; normalize: whether results get length 1."""

    pooling: str
    dense: tuple[Dense, ...]
    normalize: bool


def read_modules(folder: Path) -> Modules | None:
    """What modules.json says, None where there is none. Raises MalformedFileError or UnsupportedModelError by name."""
    path = folder / MODULES
    if not path.exists():
        return None
    modules = read_json_array(path, MAX_JSON)
    kinds = [_kind(module) for module in modules]
    middle = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if kinds[:2] != ["Transformer", "Pooling"] or set(middle) - {"Dense"} or len(kinds) > MAX_MODULES:
        what = f"{MODULES}: modules {quoted(' '.join(kinds))}"
        raise UnsupportedModelError(f"{what}; llmc compiles Transformer, Pooling, then any Dense, then perhaps Normalize")
    places = [_place(module) for module in modules[1 : 2 + len(middle)]]
    pooling = _mode(read_json(folder / places[0] / CONFIG, MAX_JSON), f"{places[0]}/{CONFIG}")
    return Modules(pooling, tuple(_dense(folder, place) for place in places[1:]), kinds[-1] == "Normalize")


def _kind(module: Any) -> str:
    kind = module.get("type") if isinstance(module, dict) else None
    if not isinstance(kind, str):
        raise MalformedFileError(f"{MODULES}: a module is no object with a type")
    return kind.rsplit(".", 1)[-1]


def _place(module: Mapping[str, Any]) -> str:
    place = module.get("path")
    if not isinstance(place, str) or place != Path(place).name or place in ("", ".", ".."):
        raise MalformedFileError(f"{MODULES}: the path of {_kind(module)} is {quoted(str(place))}, expected a folder's name")
    return place


def _mode(config: Mapping[str, Any], name: str) -> str:
    named = config.get("pooling_mode")
    named = LAST_NAME.get(named, named) if isinstance(named, str) else None
    if named in NAMES:
        return str(named)
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in MODES:
        what = quoted(" ".join(modes) or "no pooling_mode")
        raise UnsupportedModelError(f"{name}: {what}; llmc can pool by {', '.join(MODES)}")
    return MODES[modes[0]]


def _dense(folder: Path, place: str) -> Dense:
    config, name = read_json(folder / place / CONFIG, MAX_JSON), f"{place}/{CONFIG}"
    function = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    short = function.rsplit(".", 1)[-1] if isinstance(function, str) else ""
    if short not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise UnsupportedModelError(f"{name}: activation_function is {quoted(str(function))}; llmc can compile {known}")
    columns, rows = (_size(config, key, name) for key in ("in_features", "out_features"))
    bias = config.get("bias", True)
    if not isinstance(bias, bool):
        raise MalformedFileError(f"{name}: bias is no boolean")
    return Dense(place, columns, rows, bias, FUNCTIONS[short])


def _size(config: Mapping[str, Any], key: str, name: str) -> int:
    size = config.get(key)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= 1 << 20:
        raise MalformedFileError(f"{name}: {key} is {quoted(str(size))}, expected a size")
    return size
