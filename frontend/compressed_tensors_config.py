"""What quantization_config says where quant_method is compressed-tensors: groups of modules and how their weights are stored.

A group of `config_groups` names its modules in `targets`: a module's name, a pattern (`re:`, from the start of the name) or a
class, of which a file shows only that linears have weights to quantise: `Linear`. Names come before patterns, and these before
classes; modules that `ignore` names belong to no group.

Reference: https://github.com/vllm-project/compressed-tensors, quantization/quant_args.py, config/base.py, utils/match.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.json_file import json_kind
from llmc.frontend.module_patterns import matches
from llmc.frontend.quant._groups import BITS
from llmc.frontend.quantized import CONFIG, MAX_GROUP, check_group

INTEGERS: Final = {"pack-quantized": BITS, "int-quantized": BITS, "naive-quantized": BITS}
FLOATS: Final = {
    "float-quantized": 8, "naive-quantized": 8, "nvfp4-pack-quantized": 4, "mxfp4-pack-quantized": 4,
}  # fmt: skip
FORMATS: Final = (*dict.fromkeys((*INTEGERS, *FLOATS)),)
PATTERN: Final = "re:"
LINEAR: Final = "Linear"
FP4_GROUPS: Final = {"nvfp4-pack-quantized": 16, "mxfp4-pack-quantized": 32}


@dataclass(frozen=True)
class Scheme:
    """How weights are stored: `format` as in FORMATS, `kind` "int" or "float".

    A scale covers `rows` by `columns` weights, -1: all rows, or all columns.
    """

    format: str
    kind: str
    bits: int
    symmetric: bool
    rows: int
    columns: int


@dataclass(frozen=True)
class Schemes:
    """(targets, scheme; None: weights are not quantised) by group, and the modules that are in none."""

    groups: tuple[tuple[tuple[str, ...], Scheme | None], ...]
    ignore: tuple[str, ...]

    def of(self, module: str) -> Scheme | None:
        """The scheme of a linear, None where it has none."""
        if any(target == module or _is_pattern_of(target, module) for target in self.ignore):
            return None
        for test in (lambda t: t == module, lambda t: _is_pattern_of(t, module), lambda t: t == LINEAR):
            found = [scheme for targets, scheme in self.groups if any(map(test, targets))]
            if found:
                return found[0]
        return None


def _is_pattern_of(target: str, module: str) -> bool:
    return target.startswith(PATTERN) and matches(target.removeprefix(PATTERN), module)


def read_schemes(config: Mapping[str, Any]) -> Schemes:
    """Raises MalformedFileError or UnsupportedModelError naming the key."""
    _refuse_unfollowed(config)
    layout, groups = config.get("format"), config.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise MalformedFileError(f"{CONFIG} config_groups is {json_kind(groups)}, expected an object that is not empty")
    found = tuple(_group(f"config_groups {quoted(name)}", group, layout) for name, group in groups.items())
    return Schemes(found, _names(config, "ignore"))


def _refuse_unfollowed(config: Mapping[str, Any]) -> None:
    """What changes results and is not compiled. A quantised cache (kv_cache_scheme) is none of it: ours has more bits."""
    if config.get("transform_config"):
        raise UnsupportedModelError(f"{CONFIG} transform_config is set: weights are rotated, which llmc cannot compile")
    sparsity = config.get("sparsity_config")
    layout = sparsity.get("format", "dense") if isinstance(sparsity, dict) else sparsity or "dense"
    if layout != "dense":
        raise UnsupportedModelError(
            f"{CONFIG} sparsity_config format is {quoted(str(layout))}, which llmc cannot compile", hint="save the model dense"
        )
    status = config.get("quantization_status", "compressed")
    if status != "compressed":
        hint = "save the model compressed: save_pretrained(..., save_compressed=True)"
        raise UnsupportedModelError(f"{CONFIG} quantization_status is {quoted(str(status))}, not compressed", hint=hint)


def _names(owner: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = owner.get(key)
    if not isinstance(names, list | None) or not all(isinstance(name, str) for name in names or ()):
        raise MalformedFileError(f"{CONFIG} {key} is {json_kind(names)}, expected an array of strings")
    return tuple(names or ())


def _group(where: str, group: Any, layout: Any) -> tuple[tuple[str, ...], Scheme | None]:
    if not isinstance(group, dict):
        raise MalformedFileError(f"{CONFIG} {where} is {json_kind(group)}, expected an object")
    weights = group.get("weights")
    if not isinstance(weights, dict | None):
        raise MalformedFileError(f"{CONFIG} {where} weights is {json_kind(weights)}, expected an object")
    scheme = None if weights is None else _scheme(group.get("format") or layout, weights)
    return _names(group, "targets"), scheme


def _scheme(layout: Any, weights: Mapping[str, Any]) -> Scheme:
    bits, kind, symmetric = weights.get("num_bits"), weights.get("type", "int"), weights.get("symmetric", True)
    if layout not in FORMATS:
        hint = f"llmc compiles {', '.join(FORMATS)}"
        raise UnsupportedModelError(f"{CONFIG} format is {quoted(str(layout))}, which llmc cannot compile", hint=hint)
    known = INTEGERS.get(layout, ()) if kind == "int" else (FLOATS.get(layout),) if kind == "float" else ()
    if type(bits) is not int or bits not in known:
        what = f"type {quoted(str(kind))}, num_bits {bits!r:.30}"
        raise UnsupportedModelError(f"{CONFIG} weights have {what}, which llmc cannot compile as {layout}")
    if not isinstance(symmetric, bool) or (kind == "float" and not symmetric):
        raise UnsupportedModelError(f"{CONFIG} weights have symmetric {symmetric!r:.30}, which llmc cannot compile as {layout}")
    return Scheme(layout, str(kind), bits, symmetric, *_over(layout, weights))


def _over(layout: str, weights: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of a scale."""
    strategy, group = weights.get("strategy"), weights.get("group_size")
    if strategy is None:  # what it is without being said
        strategy = "tensor" if group is None else "channel" if group == -1 else "group"
    if layout in FP4_GROUPS:
        if strategy not in ("group", "tensor_group") or group != FP4_GROUPS[layout]:
            what = f"strategy {quoted(str(strategy))}, group_size {group!r:.30}"
            raise UnsupportedModelError(f"{CONFIG} weights have {what}, which llmc cannot compile as {layout}")
        return 1, FP4_GROUPS[layout]
    if strategy in ("channel", "tensor"):
        return (1 if strategy == "channel" else -1), -1
    if strategy == "group":
        return 1, check_group(group, None)
    if strategy == "block":
        return _block(weights.get("block_structure"))
    raise UnsupportedModelError(f"{CONFIG} weights have strategy {quoted(str(strategy))}, which llmc cannot compile")


def _block(size: Any) -> tuple[int, int]:
    if isinstance(size, str):  # "128x128" in old files
        size = [int(n) if n.isdecimal() and len(n) < 9 else n for n in size.split("x")]
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n <= MAX_GROUP for n in size):
        raise MalformedFileError(f"{CONFIG} block_structure is {size!r:.40}, expected two numbers from 1 to {MAX_GROUP}")
    return size[0], check_group(size[1], None)
