"""GPTQ in safetensors: the tensors `qweight`, `qzeros`, `scales` and `g_idx` of a linear as one weight.

For a weight [N, K] in G groups of columns, with B-bit codes: scales [G, N];
    qweight i32 [K*B/32, N], a stream of codes down each column; qzeros i32 [G, N*B/32], along rows, less one in format v1
    g_idx i32 [K], the group of each column: with desc_act (act-order) not ascending; the blocks are made in its order then
`dynamic` has rules for single modules: a pattern, `-:` before it where the modules are left as they were, and what differs.

Reference: GPTQModel, nn_modules/qlinear and quantization/config.py.  arXiv:2210.17323.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor, quoted
from llmc.frontend.derived import stack_name
from llmc.frontend.json_file import json_kind
from llmc.frontend.module_patterns import matches
from llmc.frontend.quant._groups import group_format
from llmc.frontend.quantized import (
    CONFIG,
    UNIT,
    Groups,
    Linear,
    Read,
    Source,
    block_width,
    check_group,
    check_groups,
    factor_of,
    is_ascending,
    order_of,
    scale_numbers,
    stream,
    with_orders,
    write_groups,
)
from llmc.frontend.safetensors import Stored

BESIDE: Final = "quantize_config.json"
PARTS: Final = ("qweight", "qzeros", "scales", "g_idx")
DTYPES: Final = {"qweight": ("I32",), "qzeros": ("I32",), "scales": ("F16", "BF16"), "g_idx": ("I32",)}
BITS: Final = (2, 3, 4, 8)
LAYOUTS: Final = ("gptq", "gptq_v2")


@dataclass(frozen=True)
class Rule:
    """How a module is quantised; group in columns, -1: all of a row."""

    bits: int
    group: int
    desc_act: bool


@dataclass(frozen=True)
class Gptq:
    """What quantization_config says. v1: zero points are stored less one. dynamic: (pattern, rule; None: not quantised)."""

    rule: Rule
    v1: bool
    dynamic: tuple[tuple[str, Rule | None], ...]

    def of(self, module: str) -> Rule | None:
        """The rule of a module, None where it is not quantised: the first pattern that matches decides."""
        return next((rule for pattern, rule in self.dynamic if matches(pattern, module)), self.rule)


@dataclass(frozen=True)
class Found:
    """A linear whose tensors fit: W [n, k], and its zero points u16 [G, N]."""

    name: str
    parts: Mapping[str, Stored]
    rule: Rule
    n: int
    k: int
    zeros: NDArray[np.uint16]

    @property
    def width(self) -> int:
        return self.k if self.rule.group == -1 else self.rule.group

    @property
    def centred(self) -> bool:
        return not bool((self.zeros != 1 << (self.rule.bits - 1)).any())


def read_linears(source: Source) -> dict[str, Linear]:
    """The quantised linears by the name of their weight, and the orders of their columns.

    Raises MalformedFileError or UnsupportedModelError naming the key or the tensor.
    """
    g, read = read_config(source.config, source.beside), source.read
    found = [_understand(name, parts, g, read) for name, parts in find_parts(source.stored).items()]
    uneven = {stack_name(f"{f.name}.weight") for f in found if not f.centred}
    return with_orders((_linear(f, stack_name(f"{f.name}.weight") in uneven, read) for f in found), "g_idx", read)


def read_config(config: Mapping[str, Any], beside: Mapping[str, Any]) -> Gptq:
    """What quantization_config says; `beside` is quantize_config.json, which must not say something else."""
    check_beside(config, beside)
    layout = config.get("checkpoint_format", config.get("format", "gptq"))
    if config.get("is_marlin_format"):
        layout = "marlin"
    if layout not in LAYOUTS:
        hint = "save the model again with checkpoint_format gptq or gptq_v2"
        raise UnsupportedModelError(
            f"{CONFIG} checkpoint_format is {quoted(str(layout))}; llmc reads {' and '.join(LAYOUTS)}", hint=hint
        )
    rule = Rule(_bits(config), check_group(config.get("group_size"), -1), _flag(config, "desc_act"))
    return Gptq(rule, layout == "gptq", tuple(_dynamic(config.get("dynamic"), rule)))


def check_beside(config: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
    for key in ("bits", "group_size"):
        if key in beside and beside[key] != config.get(key):
            raise MalformedFileError(f"{BESIDE}: {key} is {beside[key]!r:.30}, but {CONFIG} says {config.get(key)!r:.30}")


def _bits(config: Mapping[str, Any]) -> int:
    bits = config.get("bits")
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in BITS:
        raise MalformedFileError(f"{CONFIG} bits is {bits!r:.30}, expected {' or '.join(map(str, BITS))} for gptq")
    return bits


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedFileError(f"{CONFIG} {key} is {json_kind(value)}, expected a boolean")
    return bool(value)


def _dynamic(dynamic: Any, rule: Rule) -> list[tuple[str, Rule | None]]:
    """The rules for single modules, in order; what they do not say is as in `rule`."""
    if dynamic is None:
        return []
    if not isinstance(dynamic, dict):
        raise MalformedFileError(f"{CONFIG} dynamic is {json_kind(dynamic)}, expected an object")
    rules: list[tuple[str, Rule | None]] = []
    for key, changes in dynamic.items():
        if key.startswith("-:") or changes is False:
            rules.append((key.removeprefix("-:").removeprefix("+:"), None))
            continue
        if not isinstance(changes, dict):
            raise MalformedFileError(f"{CONFIG} dynamic {quoted(key)} is {json_kind(changes)}, expected an object")
        all_of_it = {"bits": rule.bits, "group_size": rule.group, "desc_act": rule.desc_act, **changes}
        changed = Rule(_bits(all_of_it), check_group(all_of_it["group_size"], -1), _flag(all_of_it, "desc_act"))
        rules.append((key.removeprefix("+:"), changed))
    return rules


def find_parts(stored: Mapping[str, Stored], optional: tuple[str, ...] = ("g_idx",)) -> dict[str, dict[str, Stored]]:
    """Quantised linears: name of the module -> its parts. Raises MalformedFileError where a part is missing or too much."""
    names = [name.removesuffix(".qweight") for name in stored if name.endswith(".qweight")]
    found: dict[str, dict[str, Stored]] = {}
    for name in names:
        found[name] = {part: stored[f"{name}.{part}"] for part in PARTS if f"{name}.{part}" in stored}
        missing = [part for part in PARTS if part not in found[name] and part not in optional]
        if missing:
            raise MalformedFileError(f"tensor {name}.{missing[0]} is missing beside {name}.qweight")
        if f"{name}.weight" in stored:
            raise MalformedFileError(f"tensors {name}.weight and {name}.qweight are both there")
    return found


def check_types(parts: Mapping[str, Stored], method: str) -> None:
    for part, stored in parts.items():
        if stored.dtype not in DTYPES[part] or len(stored.shape) != (1 if part == "g_idx" else 2):
            what = f"{stored.dtype} {list(stored.shape)}"
            raise MalformedFileError(f"tensor {stored.name} is {what}, expected {' or '.join(DTYPES[part])} as {method} has it")


def check_shapes(name: str, parts: Mapping[str, Stored], bits: int, n: int, k: int, width: int) -> None:
    """The parts' shapes are those of W [n, k]. Raises MalformedFileError."""
    implied = f"[{n}, {k}] that quantization_config bits {bits} implies"
    if n == 0 or k == 0 or k % UNIT or (n * bits) % 32:
        raise MalformedFileError(f"tensor {name}.qweight has shape {list(parts['qweight'].shape)}: no weight {implied}")
    if "g_idx" in parts and parts["g_idx"].shape != (k,):
        raise MalformedFileError(f"tensor {name}.g_idx has {parts['g_idx'].shape[0]} elements, not one a column of {implied}")
    groups = -(-k // width)
    expected = {"scales": (groups, n), "qzeros": (groups, n * bits // 32)}
    for part in expected.keys() & parts.keys():
        if parts[part].shape != expected[part]:
            what = f"tensor {name}.{part} has shape {list(parts[part].shape)}"
            raise MalformedFileError(f"{what}, expected {list(expected[part])} for {implied} in groups of {width}")


def _understand(name: str, parts: Mapping[str, Stored], g: Gptq, read: Read) -> Found:
    """One linear: its shapes agree with each other and with the config."""
    rule = g.of(name)
    if rule is None:
        raise MalformedFileError(f"tensor {name}.qweight is there, but {CONFIG} dynamic says the module is not quantised")
    check_types(parts, "gptq")
    words, n = parts["qweight"].shape
    k = words * 32 // rule.bits
    width = k if rule.group == -1 else rule.group
    check_shapes(name, parts, rule.bits, n, k, width)
    if "g_idx" in parts:
        check_groups(parts["g_idx"], read(parts["g_idx"]).view("<i4"), width)
    elif rule.desc_act:
        raise MalformedFileError(f"tensor {name}.g_idx is missing, which {CONFIG} desc_act needs")
    packed = read(parts["qzeros"]).reshape(parts["qzeros"].shape[0], -1)
    zeros = stream(packed, rule.bits).astype(np.uint16) + np.uint16(g.v1)
    if zeros.max(initial=0) > 255:
        raise UnsupportedModelError(f"tensor {name}.qzeros holds the zero point 256 of 8-bit codes, which llmc cannot compile")
    return Found(name, parts, rule, n, k, zeros)


def _linear(f: Found, has_zeros: bool, read: Read) -> Linear:
    """has_zeros: the linear, or another expert of its stack, has zero points that are not all in the middle."""
    bits, n, k = f.rule.bits, f.n, f.k
    reordered = "g_idx" in f.parts and not is_ascending(read(f.parts["g_idx"]).view("<i4"))
    fmt = group_format(bits, block_width(f.width, k), has_zeros, factor_of(f.parts["scales"]))
    weight = f.parts["qweight"]
    order = f"{f.name}.g_idx" if reordered else None
    tensor = Tensor(f"{f.name}.weight", fmt, (n, k), weight.file, weight.offset, n * fmt.row_bytes(k), order)
    zeros = f.zeros.T.astype(np.uint8) if has_zeros else None
    parts = f.parts

    def build(read: Read) -> Bytes:
        words = read(parts["qweight"]).view("<u4").reshape(parts["qweight"].shape)
        columns = order_of(read(parts["g_idx"]).view("<i4")) if reordered else None
        scales = scale_numbers(parts["scales"], read).T

        def codes(lo: int, hi: int) -> Bytes:
            return np.ascontiguousarray(words[:, lo:hi].T).view(np.uint8)

        return write_groups(fmt, n, k, Groups(bits, f.width, scales, zeros, codes, columns))

    return Linear(tensor, parts, build)
