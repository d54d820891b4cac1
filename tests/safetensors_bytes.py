"""Writes safetensors files and model directories byte by byte, so that a test can get any part of them wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

DTYPES = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8", "uint16": "BF16"}
NO_NAMES: Mapping[str, str] = {}


def header(tensors: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str] = NO_NAMES) -> dict[str, Any]:
    """The header of tensors that lie one after the other; `dtypes` has the types that numpy has not."""
    entries: dict[str, Any] = {}
    at = 0
    for name, t in tensors.items():
        dtype = dtypes.get(name) or DTYPES[t.dtype.name]
        entries[name] = {"dtype": dtype, "shape": [*t.shape], "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    return entries


def encode(entries: dict[str, Any] | bytes, data: bytes) -> bytes:
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def safetensors(tensors: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str] = NO_NAMES) -> bytes:
    return encode(header(tensors, dtypes), b"".join(t.tobytes() for t in tensors.values()))


def write_directory(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], dtypes: Mapping[str, str] = NO_NAMES
) -> Path:
    """A model directory without a tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(tensors, dtypes))
    return folder
