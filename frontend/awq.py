"""AWQ in safetensors: the tensors `qweight`, `qzeros` and `scales` of a linear as one weight, in the layout called GEMM.

For a weight [N, K] in G groups of columns: scales [G, N], qweight i32 [K, N/8], qzeros i32 [G, N/8]: the eight nibbles of a word
are columns 0 2 4 6 1 3 5 7 of its eight. Other layouts have the same names of tensors and are refused by the config's `version`.

Reference: AutoAWQ, awq/utils/packing_utils.py.  arXiv:2306.00978.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor, quoted
from llmc.frontend.derived import stack_name
from llmc.frontend.gptq import check_beside, check_shapes, check_types, find_parts
from llmc.frontend.json_file import json_kind
from llmc.frontend.quant._groups import group_format
from llmc.frontend.quantized import (
    CONFIG,
    Groups,
    Linear,
    Read,
    Source,
    block_width,
    check_group,
    check_groups,
    factor_of,
    is_ascending,
    scale_numbers,
    write_groups,
)
from llmc.frontend.safetensors import Stored

COLUMNS: Final = (0, 2, 4, 6, 1, 3, 5, 7)
BITS: Final = 4
MIDDLE: Final = 8


def read_linears(source: Source) -> dict[str, Linear]:
    """The quantised linears by the name of their weight. Raises MalformedFileError or UnsupportedModelError naming the key or
    the tensor. Which modules are quantised is seen by their tensors; `modules_to_not_convert` only repeats it.
    """
    group, zero_point = read_config(source.config, source.beside)
    parts = find_parts(source.stored, ("g_idx",) if zero_point else ("g_idx", "qzeros"))
    zeros = {name: _zeros(name, each, group, source.read) for name, each in parts.items()}
    uneven = {stack_name(f"{name}.weight") for name, z in zeros.items() if (z != MIDDLE).any()}
    linears = (_linear(name, parts[name], group, z, stack_name(f"{name}.weight") in uneven) for name, z in zeros.items())
    return {linear.tensor.name: linear for linear in linears}


def read_config(config: Mapping[str, Any], beside: Mapping[str, Any]) -> tuple[int, bool]:
    """(group size, -1: all of a row; whether there must be zero points)."""
    check_beside(config, beside)
    bits, version = config.get("bits"), config.get("version", config.get("format", "gemm"))
    if isinstance(bits, bool) or bits != BITS:
        raise MalformedFileError(f"{CONFIG} bits is {bits!r:.30}, expected {BITS} for awq")
    if str(version).lower() != "gemm":
        hint = "save the model again with version gemm"
        raise UnsupportedModelError(f"{CONFIG} version is {quoted(str(version))}; llmc reads AWQ's gemm layout", hint=hint)
    names = config.get("modules_to_not_convert")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise MalformedFileError(f"{CONFIG} modules_to_not_convert is {json_kind(names)}, expected an array of strings")
    return check_group(config.get("group_size"), -1), config.get("zero_point") is not False


def _zeros(name: str, parts: Mapping[str, Stored], group: int, read: Read) -> Bytes:
    """Zero points u8 [G, N] of a linear whose shapes agree with each other and with the config."""
    check_types(parts, "awq")
    k, words = parts["qweight"].shape
    width = k if group == -1 else group
    check_shapes(name, parts, BITS, words * 8, k, width)
    if "g_idx" in parts:
        groups = read(parts["g_idx"]).view("<i4")
        check_groups(parts["g_idx"], groups, width)
        if not is_ascending(groups):
            raise MalformedFileError(f"tensor {name}.g_idx puts columns in another order, which awq has not")
    if "qzeros" not in parts:
        return np.full((-(-k // width), words * 8), MIDDLE, np.uint8)
    return columns(read(parts["qzeros"]).view("<u4").reshape(parts["qzeros"].shape))


def _linear(name: str, parts: Mapping[str, Stored], group: int, zeros: Bytes, has_zeros: bool) -> Linear:
    """has_zeros: the linear, or another expert of its stack, has zero points that are not all in the middle."""
    weight = parts["qweight"]
    k, n = weight.shape[0], weight.shape[1] * 8
    width = k if group == -1 else group
    fmt = group_format(BITS, block_width(width, k), has_zeros, factor_of(parts["scales"]))
    tensor = Tensor(f"{name}.weight", fmt, (n, k), weight.file, weight.offset, n * fmt.row_bytes(k))

    def build(read: Read) -> Bytes:
        words = read(weight).view("<u4").reshape(weight.shape)

        def codes(lo: int, hi: int) -> Bytes:
            nibbles = columns(words[:, lo // 8 : -(-hi // 8)]).T.reshape(hi - lo, -1, 2)
            return nibbles[:, :, 0] | nibbles[:, :, 1] << np.uint8(4)

        scales = scale_numbers(parts["scales"], read).T
        return write_groups(fmt, n, k, Groups(BITS, width, scales, zeros.T if has_zeros else None, codes))

    return Linear(tensor, parts, build)


def columns(words: NDArray[np.uint32]) -> Bytes:
    """u32 [rows, N/8] -> u8 [rows, N]."""
    found = np.empty((*words.shape, 8), np.uint8)
    for i, column in enumerate(COLUMNS):
        found[:, :, column] = (words >> np.uint32(4 * i)) & np.uint32(15)
    return found.reshape(len(words), -1)
