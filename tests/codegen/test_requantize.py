"""Weights stored in another format: the tiles are those of the quantised weight, and the errors those of its numbers."""

import numpy as np
import pytest

from llmc.codegen.requantize import Changes, requantized
from llmc.errors import UnsupportedModelError
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import BlockFormat, Bytes, dequantize, values_of
from llmc.ir.quantize import encode, quantize
from llmc.ir.tiles import unpack
from tests.codegen.weights import random_weight

N, K = 600, 512  # several chunks, and a last tile that is not full


def stored(source: str, fmt: str, raw: Bytes, changes: Changes) -> Bytes:
    return np.concatenate([*requantized("w", FORMATS[source], FORMATS[fmt], raw, N, K, changes)])


@pytest.mark.parametrize("source", ["f16", "q8_0"])
@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q4_k", "q6_k", "f16", "bf16"])
def test_tiles_hold_the_quantised_weight(source: str, name: str) -> None:
    if source == name:
        pytest.skip("stays as it is")
    raw = random_weight(FORMATS[source], N, K, np.random.default_rng(0))
    old, changes, fmt = dequantize(FORMATS[source], raw), Changes(), FORMATS[name]
    back = unpack(fmt, stored(source, name, raw, changes), N, K)
    if isinstance(fmt, BlockFormat):
        new = values_of(fmt, quantize(fmt, old))
        assert values_of(fmt, back).tobytes() == new.tobytes()  # type: ignore[arg-type]
    else:
        new = dequantize(fmt, encode(fmt, old))
        assert back.astype("<u2").tobytes() == encode(fmt, old).tobytes()  # type: ignore[union-attr]
    exact = np.sqrt(((new.astype(np.float64) - old) ** 2).sum() / (old.astype(np.float64) ** 2).sum())
    assert changes.of["w"].relative == pytest.approx(exact, rel=1e-12)
    assert changes.relative == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("number", [1e6, np.inf, np.nan])
def test_numbers_that_do_not_fit_are_refused(number: float) -> None:
    values = np.zeros(N * K, np.float32)
    values[-1] = number
    with pytest.raises(UnsupportedModelError, match="tensor w holds numbers beyond what f16"):
        stored("f32", "f16", values.view(np.uint8), Changes())


def test_errors_of_tensors_add_up() -> None:
    changes = Changes()
    assert changes.relative == 0
    zeros = np.zeros(N * K, np.float32).view(np.uint8)
    stored("f32", "q4_0", zeros, changes)
    assert changes.relative == 0 and changes.of["w"].relative == 0
