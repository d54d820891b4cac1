"""compressed-tensors in safetensors: linears of 4 or 8-bit integers, packed (`pack-quantized`) or as they are (`int-quantized`),
or of 8-bit floats (`float-quantized`).

For a weight [N, K] in G groups of columns, with B-bit codes that count from the middle of their range:
    pack-quantized  weight_packed i32 [N, K*B/32], weight_scale [N, G], weight_shape = (N, K), and, if not symmetric,
                    weight_zero_point i32 [N*B/32, G], a stream of codes down each column
    int-quantized   weight i8 [N, K], weight_scale [N, 1]
    float-quantized weight e4m3 [N, K], weight_scale [N, 1]
What the config says of activations is not followed: `--activations` says how llmc computes.

Reference: https://github.com/vllm-project/compressed-tensors, compressors/quantized_compressors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor, quoted
from llmc.frontend.group_quantization import CONFIG, MAX_BLOCK, MAX_GROUP, UNIT, Read, blocks, stream
from llmc.frontend.quant._groups import group_format
from llmc.frontend.safetensors import Stored
from llmc.ir.quant import E4M3, DenseFormat, dequantize

FORMATS: Final = ("pack-quantized", "int-quantized", "float-quantized")
MARKS: Final = {"pack-quantized": "weight_packed", "int-quantized": "weight", "float-quantized": "weight"}
DTYPES: Final = {"pack-quantized": "I32", "int-quantized": "I8", "float-quantized": "F8_E4M3"}
UNFOLLOWED: Final = ("kv_cache_scheme", "sparsity_config", "transform_config")
SCALES: Final = {"F16": DenseFormat("f16", 1, 2), "BF16": DenseFormat("bf16", 30, 2), "F32": DenseFormat("f32", 0, 4)}


@dataclass(frozen=True)
class Scheme:
    """format as in FORMATS; group in columns, -1: all of a row."""

    format: str
    bits: int
    group: int
    symmetric: bool


@dataclass(frozen=True)
class Compressed:
    """A quantised linear. `parts` by the last word of their names; `tensor` is what the checkpoint shows of it."""

    tensor: Tensor
    scheme: Scheme
    parts: Mapping[str, Stored]

    def assemble(self, read: Read) -> Bytes:
        """The blocks of the weight, row after row: u8 [N * row_bytes]. Floats are as they are stored."""
        if self.scheme.format == "float-quantized":
            return read(self.parts["weight"])
        n = self.tensor.shape[0]
        mark = MARKS[self.scheme.format]
        codes = read(self.parts[mark]).reshape(n, -1)
        flip = np.uint8(0x80 if mark == "weight" else 0)
        zeros = None if self.scheme.symmetric else _zeros(self.parts["weight_zero_point"], self.scheme.bits, read)
        return blocks(self.tensor, _scales(self.parts["weight_scale"], read), zeros, lambda lo, hi: codes[lo:hi] ^ flip)


def read_scheme(config: Mapping[str, Any]) -> Scheme:
    """What quantization_config says. Raises MalformedFileError or UnsupportedModelError naming the key."""
    layout = config.get("format")
    if layout not in FORMATS:
        raise UnsupportedModelError(f"{CONFIG} format is {quoted(str(layout))}; llmc compiles {', '.join(FORMATS)}")
    for key in UNFOLLOWED:
        if config.get(key):
            raise UnsupportedModelError(f"{CONFIG} {key} is set, which llmc cannot compile")
    groups = config.get("config_groups")
    one = next(iter(groups.values())) if isinstance(groups, dict) and len(groups) == 1 else None
    if not isinstance(one, dict) or one.get("targets") != ["Linear"] or not isinstance(one.get("weights"), dict):
        raise UnsupportedModelError(f"{CONFIG} config_groups is not one group whose target is Linear, which llmc cannot compile")
    return _scheme(layout, one["weights"])


def _scheme(layout: str, weights: Mapping[str, Any]) -> Scheme:
    bits, kind, strategy = (weights.get(key) for key in ("num_bits", "type", "strategy"))
    symmetric, group = weights.get("symmetric", True), weights.get("group_size")
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in ((4, 8) if layout == "pack-quantized" else (8,)):
        raise UnsupportedModelError(f"{CONFIG} num_bits is {bits!r:.30}, which llmc cannot compile as {layout}")
    wanted, known = ("float", "float by channel") if layout == "float-quantized" else ("int", "int by group or channel")
    if kind != wanted or strategy not in ("group", "channel") or not isinstance(symmetric, bool):
        what = f"type {quoted(str(kind))}, strategy {quoted(str(strategy))}, symmetric {symmetric!r:.30}"
        raise UnsupportedModelError(f"{CONFIG} weights have {what}; llmc compiles {known}")
    if layout != "pack-quantized" and not (symmetric and strategy == "channel"):
        raise UnsupportedModelError(f"{CONFIG} weights of {layout} are not symmetric by channel, which llmc cannot compile")
    if strategy == "channel":
        return Scheme(layout, bits, -1, symmetric)
    if isinstance(group, bool) or not isinstance(group, int) or not 0 < group <= MAX_GROUP:
        raise MalformedFileError(f"{CONFIG} group_size is {group!r:.30}, expected 1 to {MAX_GROUP}")
    if group % UNIT:
        raise UnsupportedModelError(f"{CONFIG} group_size is {group}; llmc compiles multiples of {UNIT}")
    return Scheme(layout, bits, group, symmetric)


def find_linears(stored: Mapping[str, Stored], scheme: Scheme) -> dict[str, dict[str, Stored]]:
    """Quantised linears: name of the module -> its parts. Raises MalformedFileError where a part is missing or too much."""
    mark = MARKS[scheme.format]
    dtype = DTYPES[scheme.format]
    marked = [name for name, t in stored.items() if name.endswith(f".{mark}") and (mark != "weight" or t.dtype == dtype)]
    wanted = [mark, "weight_scale", *(["weight_shape"] if mark != "weight" else [])]
    wanted += [] if scheme.symmetric else ["weight_zero_point"]
    found: dict[str, dict[str, Stored]] = {}
    for name in (name.removesuffix(f".{mark}") for name in marked):
        missing = [part for part in wanted if f"{name}.{part}" not in stored]
        if missing:
            raise MalformedFileError(f"tensor {name}.{missing[0]} is missing beside {name}.{mark}")
        if mark != "weight" and f"{name}.weight" in stored:
            raise MalformedFileError(f"tensors {name}.weight and {name}.{mark} are both there")
        if f"{name}.weight_g_idx" in stored:
            raise UnsupportedModelError(f"tensor {name}.weight_g_idx: columns in act-order, which llmc cannot compile yet")
        found[name] = {part: stored[f"{name}.{part}"] for part in wanted}
    return found


def understand(name: str, parts: Mapping[str, Stored], s: Scheme, read: Read) -> Compressed:
    """One linear: its shapes agree with each other and with the config. Raises naming the tensor."""
    weight = parts[MARKS[s.format]]
    if len(weight.shape) != 2 or weight.dtype != DTYPES[s.format]:
        raise MalformedFileError(f"tensor {weight.name} is {weight.dtype} {list(weight.shape)}, which is not {s.format}")
    n, k = weight.shape[0], weight.shape[1] * (32 // s.bits if s.format == "pack-quantized" else 1)
    group = k if s.group == -1 else s.group
    if n == 0 or k == 0 or k % UNIT or k % group:
        raise UnsupportedModelError(
            f"tensor {weight.name}: {n} rows of {k} columns in groups of {group}, which llmc cannot compile"
        )
    _check(parts, s, n, k, group)
    if "weight_shape" in parts and read(parts["weight_shape"]).view("<i8").tolist() != [n, k]:
        raise MalformedFileError(f"tensor {name}.weight_shape is not [{n}, {k}], the shape of {weight.name}")
    if s.format == "float-quantized":
        scale = parts["weight_scale"].name
        tensor = Tensor(f"{name}.weight", E4M3, (n, k), weight.file, weight.offset, weight.nbytes, scales=scale)
        return Compressed(tensor, s, {"weight": weight})  # the scales are a tensor of their own
    _scales(parts["weight_scale"], read)
    fmt = group_format(s.bits, min(group & -group, MAX_BLOCK), not s.symmetric)
    tensor = Tensor(f"{name}.weight", fmt, (n, k), weight.file, weight.offset, n * fmt.row_bytes(k))
    return Compressed(tensor, s, parts)


def _check(parts: Mapping[str, Stored], s: Scheme, n: int, k: int, group: int) -> None:
    expected: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        "weight_scale": (tuple(SCALES), (n, k // group)),
        "weight_shape": (("I64",), (2,)),
        "weight_zero_point": (("I32",), (-(-n * s.bits // 32), k // group)),
    }
    for part in expected.keys() & parts.keys():
        t, (dtypes, shape) = parts[part], expected[part]
        if t.dtype not in dtypes or t.shape != shape:
            raise MalformedFileError(
                f"tensor {t.name} is {t.dtype} {list(t.shape)}, expected {' or '.join(dtypes)} {list(shape)}"
            )


def _scales(stored: Stored, read: Read) -> NDArray[np.float16]:
    """Scales f16 [N, G]. Raises UnsupportedModelError where one is no f16."""
    values = dequantize(SCALES[stored.dtype], read(stored)).reshape(stored.shape)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.array_equal(halves.astype(np.float32), values):
        raise UnsupportedModelError(f"tensor {stored.name} holds a scale that no f16 equals, which llmc cannot compile yet")
    return halves


def _zeros(stored: Stored, bits: int, read: Read) -> NDArray[np.uint16]:
    """Zero points u16 [N, G], counted as the codes are."""
    words = read(stored).view("<u4").reshape(stored.shape)
    return stream(np.ascontiguousarray(words.T).view(np.uint8), bits).T.astype(np.uint16)
