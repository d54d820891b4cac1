"""FP8 in safetensors: linears of E4M3 floats with scales, as DeepSeek, Qwen and Mistral publish them.

For a weight e4m3 [N, K]: `weight_scale_inv` (or `weight_scale`), one for each block of weight_block_size rows and columns, or,
where the config names no blocks, one for each row or one for all. A weight is code * scale, whatever the name says. What the
config says of activations is not followed: `--activations` says how llmc computes.

Reference: transformers, integrations/finegrained_fp8.py; DeepSeek-V3, arXiv:2412.19437, 3.3.
"""

from __future__ import annotations

from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import quoted
from llmc.frontend.quantized import CONFIG, MAX_GROUP, Linear, Source
from llmc.frontend.safetensors import Stored
from llmc.frontend.scales import Over, float8_linear

SCALES: Final = ("weight_scale_inv", "weight_scale")
ACTIVATIONS: Final = ("input_scale", "activation_scale", "input_scale_ub")


def read_linears(source: Source) -> dict[str, Linear]:
    """The quantised linears by the name of their weight, and factors of rows. Raises MalformedFileError or UnsupportedModelError
    naming the key or the tensor. Which modules are quantised is seen by their tensors.
    """
    config, stored = source.config, source.stored
    if config.get("fmt", "e4m3") not in ("e4m3", "float8_e4m3fn"):
        raise UnsupportedModelError(f"{CONFIG} fmt is {quoted(str(config['fmt']))}; llmc compiles e4m3")
    block = _block(config.get("weight_block_size"))
    found: dict[str, Linear] = {}
    for weight in (name for name, t in stored.items() if name.endswith(".weight") and t.dtype == "F8_E4M3"):
        name = weight.removesuffix(".weight")
        scale = next((part for part in SCALES if f"{name}.{part}" in stored), None)
        if scale is None:
            raise MalformedFileError(f"tensor {name}.{SCALES[0]} is missing beside {weight}")
        parts = {part: stored[f"{name}.{part}"] for part in ("weight", scale, *ACTIVATIONS) if f"{name}.{part}" in stored}
        found |= float8_linear(name, parts, scale, block or _whole(parts["weight"], parts[scale]))
    return found


def _block(size: Any) -> Over | None:
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n <= MAX_GROUP for n in size):
        raise MalformedFileError(f"{CONFIG} weight_block_size is {size!r:.40}, expected two numbers from 1 to {MAX_GROUP}")
    return Over(*size)


def _whole(weight: Stored, scale: Stored) -> Over:
    """Scales for all of a weight or for its rows, by how many there are."""
    n, k = weight.shape if len(weight.shape) == 2 else (1, 1)
    return Over(1 if scale.shape[:1] == (n,) else max(n, 1), max(k, 1))
