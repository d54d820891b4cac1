"""The embedding gather, every format and level: the very floats the checkpoint means."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.embed import Embed, reference
from llmc.frontend.quant import FORMATS
from llmc.ir.tiles import pack
from llmc.target import Isa
from tests.codegen.weights import random_weight

SPECS = [Embed(fmt) for fmt in FORMATS.values()]


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
