"""The experts of gpt-oss as its directories store them: MXFP4 in two tensors, codes and scales.

X_blocks u8 [E, N, K/32, 16] has the codes of weights 2i and 2i + 1 in the low and high half of byte i, X_scales u8 [E, N, K/32]
the exponents. OCP Microscaling Formats 1.0; transformers, integrations/mxfp4.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from llmc.errors import MalformedFileError
from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.frontend.quant import FORMATS
from llmc.frontend.quantized import Linear, Source
from llmc.frontend.safetensors import Stored

MXFP4: Final = FORMATS["mxfp4"]
BLOCKS: Final = "_blocks"
SCALES: Final = "_scales"


def read_linears(source: Source) -> dict[str, Linear]:
    """The stacks by the name X. Raises MalformedFileError where a part is missing or of another shape or type."""
    names = [name.removesuffix(BLOCKS) for name in source.stored if name.endswith(BLOCKS)]
    return {name: _stack(name, source.stored) for name in names}


def _stack(name: str, stored: Mapping[str, Stored]) -> Linear:
    blocks, scales = stored[name + BLOCKS], stored.get(name + SCALES)
    if scales is None:
        raise MalformedFileError(f"tensor {name}{SCALES} is missing, beside {blocks.name}")
    for part in (blocks, scales):
        if part.dtype != "U8":
            raise MalformedFileError(f"tensor {part.name} has dtype {part.dtype}, expected U8")
    if len(blocks.shape) != 4 or blocks.shape[3] != 16 or scales.shape != blocks.shape[:3]:
        raise MalformedFileError(f"tensor {blocks.name} has shape {list(blocks.shape)} and its scales {list(scales.shape)}")
    experts, rows, groups, _ = blocks.shape
    tensor = Tensor(name, MXFP4, (experts, rows, 32 * groups), 0, 0, math.prod(scales.shape) * MXFP4.nbytes)
    return Linear(tensor, {"blocks": blocks, "scales": scales}, lambda read: _blocks(read(blocks), read(scales)))


def _blocks(codes: Bytes, exponents: Bytes) -> Bytes:
    """Blocks of an exponent and 16 bytes that hold the codes of weights i and i + 16: u8 [blocks * 17]."""
    pairs = codes.reshape(-1, 16)
    blocks = np.empty((len(exponents), MXFP4.nbytes), np.uint8)
    blocks[:, 0] = exponents
    even, odd = pairs & 15, pairs >> 4
    blocks[:, 1::2] = even[:, :8] | even[:, 8:] << 4
    blocks[:, 2::2] = odd[:, :8] | odd[:, 8:] << 4
    return blocks.reshape(-1)
