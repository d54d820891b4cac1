"""Linears on matrix units: every format and tiling against float64, the same text as CUDA gets run as ordinary C++."""

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.gpu import build
from llmc.codegen.gpu.kernels.linear import reference
from llmc.codegen.gpu.kernels.linear_mma import TILINGS, GpuHalve, GpuLinearMma, kernels
from llmc.codegen.gpu.spec import CudaSpec
from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import float8_format, group_format, nvfp4_format
from llmc.gpu import DEVICES
from llmc.ir.quant import DenseFormat, Format
from llmc.ir.tiles import pack
from tests.codegen.gpu import cubin, emulation
from tests.codegen.weights import random_weight

ROWS, COLUMNS = 150, 512
GROUPS = [
    group_format(4, 128, False), group_format(4, 32, True), group_format(3, 64, True, "bf16"), group_format(8, 128, True),
    float8_format(128, "f32"), nvfp4_format(64),
]  # fmt: skip
EVERY = {fmt.name: fmt for fmt in [*FORMATS.values(), *GROUPS] if fmt.name != "f32"}
FEW = (*(kernels(fmt)[0] for fmt in EVERY.values()), GpuHalve())
TILED = ("q4_k", "q5_1", "f16")
ALL = (*(spec for name in TILED for spec in kernels(FORMATS[name])), GpuHalve())
ROUNDED = {"iq4_xs": 5e-4, "q6_k": 5e-4}  # level times scale takes more than 11 bits


def halved(x: NDArray[np.float32], k: int, among: tuple[CudaSpec, ...]) -> dict[str, NDArray[np.generic]]:
    """What GpuHalve makes of x [tokens, >= k]."""
    tokens, ldh = len(x), -(-k // 64) * 64
    given = {name: np.full((tokens, ldh // each), 0xFFFFFFFF, np.uint32) for name, each in (("halves", 2), ("sums", 16))}
    return emulation.run(
        GpuHalve(),
        among,
        x=x,
        **given,
        factors=np.full(tokens, np.nan, np.float32),
        k=k,
        ldx=x.shape[1],
        ldh=ldh,
        n_tokens=tokens,
    )


def worst(spec: GpuLinearMma, among: tuple[CudaSpec, ...], tokens: int, k: int = COLUMNS, bias: bool = True) -> float:
    """The largest error of a random product, as a share of its token's largest result. Tokens differ in size by 10^12."""
    fmt: Format = spec.format
    raw = random_weight(fmt, ROWS, k, np.random.default_rng(1))
    rng, tiles, ldh = np.random.default_rng(2), -(-ROWS // 16), -(-k // 64) * 64
    x = np.full((tokens, -(-k // 16) * 16), np.nan, np.float32)
    x[:, :k] = rng.normal(size=(tokens, k)) * 10.0 ** rng.integers(-6, 6, (tokens, 1))
    b = rng.normal(size=16 * tiles).astype(np.float32) if bias else None
    given = halved(x, k, among)
    seen = given["halves"].view(np.float16)[:, :k].astype(np.float32) * given["factors"][:, None]
    assert np.abs(seen - x[:, :k]).max(1).max() <= 2.0**-11 * np.abs(x[:, :k]).max()
    found = emulation.run(
        spec, among, w=np.concatenate([*pack(fmt, raw, ROWS, k)]), x=given["halves"], sums=given["sums"],
        factors=given["factors"],
        bias=b, y=np.full((tokens, 16 * tiles), np.nan, np.float32), k=k, tiles=tiles, ldx=ldh, ldy=16 * tiles, scale=0.5,
        n_tokens=tokens,
    )["y"]  # fmt: skip
    assert np.isfinite(found).all()
    expected = reference(fmt, raw, seen, None if b is None else b[:ROWS], 0.5)
    return float((np.abs(found[:, :ROWS] - expected).max(1) / np.abs(expected).max(1)).max())


@pytest.mark.parametrize("name", EVERY)
def test_every_format_is_multiplied(name: str) -> None:
    assert worst(kernels(EVERY[name])[0], FEW, 5) <= ROUNDED.get(name, 1e-6)


@pytest.mark.parametrize("spec", ALL[:-1], ids=lambda spec: spec.symbol)
def test_every_tiling_is_the_same_product(spec: GpuLinearMma) -> None:
    k = 440 if isinstance(spec.format, DenseFormat) else 480 if spec.format.weights == 32 else 512
    assert worst(spec, ALL, spec.tiling.tokens + 3, k, bias=False) <= 1e-6


def test_results_do_not_depend_on_the_order_of_threads() -> None:
    spec = kernels(FORMATS["q4_k"])[-1]
    emulation.library(ALL).emulate_backwards(1)
    try:
        assert worst(spec, ALL, 20) <= 1e-6
    finally:
        emulation.library(ALL).emulate_backwards(0)


def test_rows_that_are_zero_infinite_or_tiny_stay_so() -> None:
    x = np.zeros((4, 64), np.float32)
    x[1, 3], x[2, 5], x[3, 7] = np.inf, 1e-44, -3e38
    found = halved(x, 64, ALL)
    values = found["halves"].view(np.float16).astype(np.float32) * found["factors"][:, None]
    assert not values[0].any() and np.isinf(values[1, 3]) and abs(values[2]).max() < 1e-37
    assert abs(values[3, 7] / -3e38 - 1) < 1e-3


@pytest.mark.skipif(build.missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")
@pytest.mark.parametrize("device", ["cuda:sm_80", "cuda:sm_90a", "cuda:sm_120"])
def test_cubins_multiply_on_matrix_units_and_spill_nothing(device: str) -> None:
    specs = [*kernels(FORMATS["q4_k"]), GpuHalve()]
    (path,) = build.build(specs, [DEVICES[device]])
    found = cubin.kernels(path.read_bytes())
    for spec in specs:
        kernel = found[spec.symbol]
        assert not kernel.frame, spec.symbol
        assert kernel.registers * spec.launch.threads * spec.blocks_per_processor <= 65536, spec.symbol
        assert len(kernel.parameters) == len(spec.params)
    for spec in specs[:-1]:
        assert isinstance(spec, GpuLinearMma)
        products = spec.tiling.tiles * spec.tiling.tokens // 8 * (4 + 1)  # four of 16 columns in a stage, one of mins
        assert cubin.instructions(path.read_bytes(), spec.symbol)[cubin.MMA] == products


def test_a_format_that_fits_no_tiling_has_no_kernels() -> None:
    assert not kernels(FORMATS["f32"])
    assert not kernels(nvfp4_format(1 << 16))
    with pytest.raises(ValueError, match="does not fit"):
        GpuLinearMma(FORMATS["f32"], TILINGS[0])
