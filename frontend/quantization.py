"""quantization_config: which method a Hugging Face directory was quantised with, and the reader for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend import awq, compressed_tensors, fp8, gptq, mxfp4_experts
from llmc.frontend.checkpoint import quoted
from llmc.frontend.json_file import json_kind
from llmc.frontend.quantized import CONFIG, Linear, Read, Source
from llmc.frontend.safetensors import Stored

READERS: Final[Mapping[str, Callable[[Source], dict[str, Linear]]]] = {
    "gptq": gptq.read_linears, "awq": awq.read_linears, "compressed-tensors": compressed_tensors.read_linears,
    "fp8": fp8.read_linears, "fbgemm_fp8": fp8.read_linears, "mxfp4": mxfp4_experts.read_linears,
}  # fmt: skip
CACHE_SCALES: Final = re.compile(r".*\.(self_attn|attn|attention)\.([qkv]|prob)_(scale|zero_point)")
"""Of quantised keys and values: the cache keeps what was computed instead."""

_GENERAL: Final = "llmc compiles F32, F16, BF16, GPTQ, AWQ, compressed-tensors and FP8 directories, and GGUF files"
_ORIGINAL: Final = "compile the model it was made from, with --weights q4_0 or another format"
HINTS: Final = {
    "bitsandbytes": f"its weights are quantised when a model is loaded: {_ORIGINAL}",
    "hqq": _ORIGINAL, "aqlm": _ORIGINAL, "quip": _ORIGINAL, "quip_sharp": _ORIGINAL, "vptq": _ORIGINAL, "spqr": _ORIGINAL,
    "higgs": _ORIGINAL, "eetq": _ORIGINAL, "quanto": _ORIGINAL, "torchao": _ORIGINAL, "exl2": _ORIGINAL, "exl3": _ORIGINAL,
    "marlin": "its tiles are made for one kind of GPU: save the model as gptq", "bitblas": "save the model as gptq",
    "gptq_marlin": "its tiles are made for one kind of GPU: save the model as gptq", "awq_marlin": "save the model as awq, gemm",
    "auto-round": "export it in the format auto_gptq", "intel/auto-round": "export it in the format auto_gptq",
    "modelopt": "export it as compressed-tensors", "quark": "export it as compressed-tensors or GGUF",
    "bitnet": "compile its GGUF file",
}  # fmt: skip
"""What to do with a checkpoint of a method llmc does not read."""


def read_linears(config: Any, beside: Mapping[str, Any], stored: Mapping[str, Stored], read: Read) -> dict[str, Linear]:
    """The quantised linears of a directory and what belongs to them, by tensor name.

    config: config.json's quantization_config; beside: quantize_config.json, {} where there is none. Raises MalformedFileError or
    UnsupportedModelError naming the key or the tensor.
    """
    if not isinstance(config, dict):
        raise MalformedFileError(f"{CONFIG} is {json_kind(config)}, expected an object")
    method = config.get("quant_method")
    if not isinstance(method, str) or method not in READERS:
        method = str(method)
        raise UnsupportedModelError(
            f"{CONFIG} quant_method is {quoted(method)}, which llmc cannot compile", hint=HINTS.get(method.lower(), _GENERAL)
        )
    found = READERS[method](Source(config, beside, stored, read))
    if not found:
        raise MalformedFileError(f"{CONFIG} is there, but no tensor is quantised")
    return found
