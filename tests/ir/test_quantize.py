"""Quantisers against the gguf package, bit for bit where it has one, and against the errors that ggml's search leaves."""

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.frontend.quant import FORMATS
from llmc.ir.quant import BlockFormat, DenseFormat, dequantize, split, values_of
from llmc.ir.quantize import NAMES, encode, quantize

DENSE = [n for n in NAMES if isinstance(FORMATS[n], DenseFormat)]
PLAIN = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]
SEARCHED = {  # relative errors of ggml_quantize_chunk (ggml 0.25.3, no importance matrix) on the same numbers
    "normal": {"q2_k": 0.29610, "q3_k": 0.15148, "q4_k": 0.07147, "q5_k": 0.03629, "q6_k": 0.01778},
    "tails": {"q2_k": 0.34568, "q3_k": 0.18429, "q4_k": 0.08723, "q5_k": 0.04413, "q6_k": 0.02298},
    "positive": {"q2_k": 0.13683, "q3_k": 0.10908, "q4_k": 0.02926, "q5_k": 0.01442, "q6_k": 0.01314},
}
WORSE = 1.05  # than ggml, at most


def numbers(kind: str) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    if kind == "normal":
        return rng.normal(size=1 << 16).astype(np.float32)
    return (rng.standard_t(4, size=1 << 16) if kind == "tails" else rng.random(1 << 16)).astype(np.float32)


def block_format(name: str) -> BlockFormat:
    fmt = FORMATS[name]
    assert isinstance(fmt, BlockFormat)
    return fmt


def error(name: str, x: NDArray[np.float32]) -> float:
    back = values_of(block_format(name), quantize(block_format(name), x)).astype(np.float64)
    return float(np.sqrt(((back - x) ** 2).sum() / (x.astype(np.float64) ** 2).sum()))


def awkward() -> NDArray[np.float32]:
    """Blocks of zeros, of one number, of both signs of the largest, of halves between levels, tiny and large ones."""
    x = np.random.default_rng(1).normal(size=(40, 256)).astype(np.float32)
    x[0], x[1], x[2], x[3] = 0, 0.7, -0.7, np.resize([1.0, -1.0], 256)
    x[4] = np.resize(np.arange(-8, 8) / 2, 256)
    x[5:20] *= np.float32(10) ** np.arange(-20, -5, dtype=np.float32)[:, None]
    x[20:23] *= 1e4
    return x.reshape(-1)


@pytest.mark.parametrize("name", DENSE)
def test_floats_are_rounded_as_gguf_rounds_them(name: str) -> None:
    x = np.concatenate([awkward(), np.array([np.inf, -np.inf, np.nan, 65519, 65520, 1e-8, -0.0], np.float32)])
    fmt = FORMATS[name]
    assert isinstance(fmt, DenseFormat)
    with np.errstate(over="ignore"):
        theirs = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()])
    ours = encode(fmt, x)
    nan = np.isnan(x)
    assert np.array_equal(ours.view("<u2")[~nan], np.ascontiguousarray(theirs).view("<u2").reshape(-1)[~nan])
    assert np.isnan(dequantize(fmt, ours)[nan]).all()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("x", [numbers("normal"), numbers("tails"), awkward()], ids=["normal", "tails", "awkward"])
def test_blocks_are_what_gguf_makes(name: str, x: NDArray[np.float32]) -> None:
    fmt = block_format(name)
    with np.errstate(all="ignore"):
        theirs = split(fmt, gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()]).reshape(-1))
    ours = quantize(fmt, x)
    for part in ("codes", "d", "dmin"):
        a, b = getattr(ours, part), getattr(theirs, part)
        assert (a is None) == (b is None)
        assert a is None or (a.shape == b.shape and a.tobytes() == b.tobytes()), part


@pytest.mark.parametrize("kind", SEARCHED)
@pytest.mark.parametrize("name", SEARCHED["normal"])
def test_scales_of_k_quants_are_as_good_as_those_ggml_finds(name: str, kind: str) -> None:
    assert error(name, numbers(kind)) <= WORSE * SEARCHED[kind][name]


@pytest.mark.parametrize("name", SEARCHED["normal"])
def test_awkward_blocks_keep_their_numbers(name: str) -> None:
    """Zeros stay zeros, numbers are met to a few levels, or to what the least f16 gives, and nothing becomes NaN."""
    x = awkward()
    back = values_of(block_format(name), quantize(block_format(name), x)).reshape(-1, 256)
    assert np.isfinite(back).all() and not back[0].any()
    levels = (1 << block_format(name).codes.bits) - 1
    largest = np.abs(x.reshape(-1, 256)[1:]).max(axis=1)
    worst = np.abs(back - x.reshape(-1, 256))[1:].max(axis=1)
    assert (worst <= 3 * largest / levels + 1e-4).all()


@pytest.mark.parametrize("name", [*PLAIN, *SEARCHED["normal"]])
def test_blocks_do_not_depend_on_their_neighbours(name: str) -> None:
    """So chunks of any size give the same bytes."""
    x, fmt = awkward(), block_format(name)
    whole = quantize(fmt, x)
    apart = [quantize(fmt, part) for part in np.split(x, [256, 1024, 5120])]
    for part in ("codes", "d", "scale", "dmin", "min"):
        a = getattr(whole, part)
        assert a is None or a.tobytes() == b"".join(getattr(each, part).tobytes() for each in apart)


@pytest.mark.parametrize("name", ["iq4_nl", "mxfp4", "tq1_0"])
def test_other_formats_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        quantize(block_format(name), np.zeros(256, np.float32))
