"""Products and gathers of packed weights on a GPU, every format, against the reference that decodes the checkpoint's bytes."""

import numpy as np
import pytest

from llmc.codegen.gpu.kernels.embed import GpuEmbed
from llmc.codegen.gpu.kernels.embed import reference as gathered
from llmc.codegen.gpu.kernels.linear import GpuLinear
from llmc.codegen.gpu.kernels.linear import reference as multiplied
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import Format
from llmc.ir.tiles import pack
from tests.codegen.gpu import opencl
from tests.codegen.weights import random_weight

ROWS, COLUMNS, TOKENS, PADDED = 35, 512, 5, 48


def weight(fmt: Format) -> tuple["np.ndarray", "np.ndarray"]:
    """W[ROWS, COLUMNS] as the checkpoint stores it, and in tiles."""
    raw = random_weight(fmt, ROWS, COLUMNS, np.random.default_rng(1))
    return raw, np.concatenate([*pack(fmt, raw, ROWS, COLUMNS)])


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_linear_is_the_product_with_the_decoded_weights(fmt: Format) -> None:
    raw, packed = weight(fmt)
    rng = np.random.default_rng(2)
    x, bias = rng.normal(size=(8, COLUMNS)).astype(np.float32), rng.normal(size=PADDED).astype(np.float32)
    y = np.full((TOKENS, PADDED), np.nan, np.float32)
    expected = multiplied(fmt, raw, x[:TOKENS], bias[:ROWS], 0.5)
    found = opencl.run(
        GpuLinear(fmt, 4, True), w=packed, x=x, bias=bias, y=y, k=COLUMNS, tiles=PADDED // 16, ldx=COLUMNS, ldy=PADDED, scale=0.5,
        n_tokens=TOKENS,
    )["y"]  # fmt: skip
    assert np.isfinite(found).all()
    assert np.abs(found[:, :ROWS] - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("p", [1, 2, 8])
def test_every_token_tile_computes_the_same(p: int) -> None:
    fmt = FORMATS["q4_k"]
    raw, packed = weight(fmt)
    x = np.random.default_rng(3).normal(size=(16, COLUMNS)).astype(np.float32)
    y = np.full((11, PADDED), np.nan, np.float32)
    found = opencl.run(
        GpuLinear(fmt, p, False), w=packed, x=x, bias=None, y=y, k=COLUMNS, tiles=PADDED // 16, ldx=COLUMNS, ldy=PADDED,
        scale=1.0, n_tokens=11,
    )["y"]  # fmt: skip
    expected = multiplied(fmt, raw, x[:11])
    assert np.abs(found[:, :ROWS] - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_embedding_gathers_the_very_bits(fmt: Format) -> None:
    raw, packed = weight(fmt)
    ids = np.array([3, ROWS - 1, 0, 17], np.int32)
    y = np.full((4, COLUMNS), np.nan, np.float32)
    found = opencl.run(GpuEmbed(fmt), w=packed, ids=ids, y=y, k=COLUMNS, ldy=COLUMNS, scale=2.0, n_tokens=4)["y"]
    assert np.array_equal(found, gathered(fmt, raw, ids, COLUMNS, 2.0))
