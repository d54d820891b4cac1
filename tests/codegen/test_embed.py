"""The embedding gather, every format and level: the very floats the checkpoint means."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.embed import Embed, reference
from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import float8_format, group_format
from llmc.ir.tiles import pack
from llmc.target import Isa
from tests.codegen.weights import random_weight

GROUPS = [group_format(4, 128, True), float8_format(128, "bf16")]  # of Hugging Face directories
SPECS = [Embed(fmt) for fmt in (*FORMATS.values(), *GROUPS)]
SCALES = {"mxfp4": 1, "nvfp4": 4}  # formats that begin with bytes of scales, and how many


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.symbol)
def test_gathers_rows_bit_by_bit(spec: Embed, isa: Isa, compiled: Any, guarded: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    rng = np.random.default_rng(3)
    vocabulary, k = 40, 512 if spec.format.weights > 1 else 500
    raw = random_weight(spec.format, vocabulary, k, rng)
    ids = np.array([39, 0, 15, 16, 31, 8, 8, 1], np.int32)
    y = guarded(np.full((len(ids), 528), np.nan, np.float32))
    packed = guarded(np.concatenate([*pack(spec.format, raw, vocabulary, k)]))
    compiled(spec, isa)(packed, guarded(ids), y, k, 528, 1.5, 1, 7)
    assert y[1:7, :k].tobytes() == reference(spec.format, raw, ids, k, 1.5)[1:7].tobytes()
    assert not y[1:7, k:].any()  # columns that pad a row
    assert np.isnan(y[[0, 7]]).all()  # tokens of others


@pytest.mark.parametrize("spec", [Embed(FORMATS[name]) for name in SCALES], ids=lambda s: s.symbol)
def test_every_byte_of_a_scale_is_decoded(spec: Embed, isa: Isa, compiled: Any) -> None:
    fmt = spec.format
    rows = 256 // SCALES[fmt.name]
    raw = np.random.default_rng(4).integers(0, 256, (rows, fmt.nbytes), dtype=np.uint8)
    raw[:, : SCALES[fmt.name]] = np.arange(256, dtype=np.uint8).reshape(rows, -1)
    ids, k = np.arange(rows, dtype=np.int32), fmt.weights
    y = np.empty((rows, k), np.float32)
    compiled(spec, isa)(np.concatenate([*pack(fmt, raw.reshape(-1), rows, k)]), ids, y, k, k, 1.0, 0, rows)
    assert y.tobytes() == reference(fmt, raw.reshape(-1), ids, k).tobytes()
