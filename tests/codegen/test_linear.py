"""Linear kernels on every level this machine runs, against double precision with the same quantised numbers."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.build import build_objects
from llmc.codegen.kernels.activations import COLUMNS, SUPER_BLOCK, Quantised, quantise, sums
from llmc.codegen.kernels.base import exported
from llmc.codegen.kernels.linear import WIDTHS, Linear, reference
from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import float8_format, group_format, nvfp4_format
from llmc.ir.quant import E4M3, BlockFormat, Bytes, DenseFormat, Format, dequantize
from llmc.ir.tiles import pack, row_tiles
from llmc.target import ISAS, Isa
from tests.codegen.weights import extreme_weight, random_weight
from tests.tolerance import F32_SUM, Q8_SUM, assert_sum_close

BLOCKS = [f for f in FORMATS.values() if isinstance(f, BlockFormat)]
REPRESENTATIVE = [Linear(FORMATS[name], "q8", p) for name in ("q4_0", "q4_k", "q6_k", "iq2_s") for p in WIDTHS] + [
    Linear(FORMATS[name], "f32", p) for name in ("f16", "q4_k") for p in WIDTHS
]
GROUPS = [
    group_format(8, 32, True), group_format(3, 64, True), group_format(4, 128, True), group_format(5, 64, True, "bf16"),
    group_format(7, 32, False, "f32"), nvfp4_format(32), nvfp4_format(256),
]  # fmt: skip
FLOATS = [float8_format(128, "bf16"), float8_format(32, "f32")]
EVERY_FORMAT = [Linear(f, "q8", p) for f in BLOCKS for p in ((16,) if f.grid else (1, 16))] + [
    Linear(f, "f32", p) for f in (*FORMATS.values(), E4M3) for p in ((1,) if isinstance(f, BlockFormat) else (1, 16))
]
OF_GROUPS = [Linear(f, acts, p) for f in GROUPS for acts, p in (("q8", 16), ("f32", 1))] + [Linear(f, "f32", 1) for f in FLOATS]
SPECS = list(dict.fromkeys([*EVERY_FORMAT, *OF_GROUPS, *REPRESENTATIVE]))
FAMILIES = [[s for s in REPRESENTATIVE if (s.format.name, s.acts) == key] for key in
            (("q4_0", "q8"), ("q4_k", "q8"), ("q6_k", "q8"), ("iq2_s", "q8"), ("f16", "f32"), ("q4_k", "f32"))]  # fmt: skip

Range = tuple[int, int]
Guard = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass
class Case:
    """A weight, activations and what to expect: y f64 [T, N] and the L1 norm of what was added."""

    spec: Linear
    packed: Bytes
    x: NDArray[np.float32] | Quantised
    bias: NDArray[np.float32] | None
    scale: float
    n: int
    k: int
    y: NDArray[np.float64]
    l1: NDArray[np.float64]

    def run(
        self, kernel: Callable[..., None], guard: Guard, tiles: tuple[int, int], token_tiles: tuple[int, int]
    ) -> NDArray[np.float32]:
        """The kernel's y [T, whole row tiles], NaN where it has not written."""
        tokens, ld = len(self.y), row_tiles(self.n) * 16
        y = guard(np.full((tokens, ld), np.nan, np.float32))
        bias = None if self.bias is None else guard(np.concatenate([self.bias, np.zeros(ld - self.n, np.float32)]))
        w, tail = guard(self.packed), (*tiles, *token_tiles)
        if isinstance(self.x, Quantised):
            q = self.x.tiled(self.spec.p)
            kernel(w, guard(q.qa), guard(q.da), guard(q.sa), bias, y, self.k, ld, self.scale, *tail)
        else:
            x = guard(np.pad(self.x, ((0, 0), (0, -self.k % 16))))
            kernel(w, x, bias, y, self.k, x.shape[1], ld, self.scale, *tail)
        return y.copy()

    def check(self, y: NDArray[np.float32]) -> None:
        assert_sum_close(y[:, : self.n], self.y, self.l1, Q8_SUM if self.spec.acts == "q8" else F32_SUM)


def case(spec: Linear, raw: Bytes, x: NDArray[np.float32] | Quantised, k: int, *, bias: bool = True, scale: float = 1.0) -> Case:
    fmt, n = spec.format, raw.size // spec.format.row_bytes(k)
    values = x.values() if isinstance(x, Quantised) else x.astype(np.float64)
    weight = dequantize(fmt, raw).astype(np.float64).reshape(n, k)
    b = np.random.default_rng(7).normal(size=n).astype(np.float32) if bias else None
    l1 = scale * (np.abs(values) @ np.abs(weight).T + (0 if b is None else np.abs(b)))
    packed = np.concatenate([*pack(fmt, raw, n, k)])
    return Case(spec, packed, x, b, scale, n, k, reference(fmt, raw, values, b, scale), l1)


def random_case(spec: Linear, n: int, k: int, tokens: int, *, bias: bool = True, scale: float = 1.0) -> Case:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(tokens, k)).astype(np.float32)
    quantised = quantise(x, scale_columns(spec.format)) if spec.acts == "q8" else x
    return case(spec, random_weight(spec.format, n, k, rng), quantised, k, bias=bias, scale=scale)


def scale_columns(fmt: Format) -> int:
    """Columns of activations that share a scale, for weights of a format."""
    return SUPER_BLOCK if isinstance(fmt, BlockFormat) and fmt.super_block else COLUMNS


def columns(fmt: Format) -> tuple[int, int]:
    """One block, and an odd number of blocks beyond what the kernel prepares at once."""
    if isinstance(fmt, DenseFormat):
        return 1, 37
    together = 256 // fmt.weights
    return fmt.weights, (together + (3 if together > 1 else 2)) * fmt.weights


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.symbol)
def test_agrees_with_double_precision(spec: Linear, isa: Isa, compiled: Any, guarded: Guard) -> None:
    kernel = compiled(spec, isa)
    for k, bias, scale in zip(columns(spec.format), (False, True), (1.0, 0.75), strict=True):
        c = random_case(spec, 40, k, 2 * spec.p, bias=bias, scale=scale)
        y = c.run(kernel, guarded, (0, 3), (0, 2))
        c.check(y)
        assert not y[:, 40:].any()  # rows that pad the weight


# Where code and zero point are both extreme the weight is an exact 0, and nothing measures what rounding may leave of it.
@pytest.mark.parametrize("spec", [s for s in SPECS if s.acts == "q8" and s.format != GROUPS[0]], ids=lambda s: s.symbol)
def test_is_exact_for_extreme_codes_and_activations(spec: Linear, isa: Isa, compiled: Any, guarded: Guard) -> None:
    kernel = compiled(spec, isa)
    assert isinstance(spec.format, BlockFormat)
    k = 2 * 256
    for byte in (0x00, 0x7F, 0x80, 0xFF):
        raw = extreme_weight(spec.format, 16, k, byte)
        for pattern in ([127], [-127], [127, 127, -127, -127]):  # neighbours that saturate sixteen bits together
            qa = np.resize(np.array(pattern, np.int8), (spec.p, k // 32, 32))
            shared = scale_columns(spec.format)
            x = Quantised(qa, np.ones(qa.shape[:2], np.float32), sums(qa, shared), shared)
            c = case(spec, raw, x, k, bias=False)
            c.check(c.run(kernel, guarded, (0, 1), (0, 1)))


@pytest.mark.parametrize("specs", FAMILIES, ids=lambda f: f"{f[0].format.name}-{f[0].acts}")
def test_bits_do_not_depend_on_the_width_of_the_token_tile(specs: list[Linear], isa: Isa, compiled: Any, guarded: Guard) -> None:
    results = []
    for spec in specs:
        c = random_case(spec, 24, 768, 32, scale=0.3)
        results.append(c.run(compiled(spec, isa), guarded, (0, 2), (0, 32 // spec.p)))
    for spec, y in zip(specs, results, strict=True):
        assert y.tobytes() == results[0].tobytes(), spec.symbol


@pytest.mark.parametrize("spec", [Linear(FORMATS["q4_k"], "q8", 4), Linear(FORMATS["q4_k"], "f32", 4)], ids=lambda s: s.symbol)
def test_writes_its_ranges_and_nothing_else(spec: Linear, isa: Isa, compiled: Any, guarded: Guard) -> None:
    c = random_case(spec, 80, 256, 16)
    whole = c.run(compiled(spec, isa), guarded, (0, 5), (0, 4))
    part = c.run(compiled(spec, isa), guarded, (1, 4), (1, 3))
    expected = np.full_like(whole, np.nan)
    expected[4:12, 16:64] = whole[4:12, 16:64]
    assert part.tobytes() == expected.tobytes()


@pytest.mark.parametrize("spec", [Linear(FORMATS["q4_k"], "q8", 4), Linear(FORMATS["q4_k"], "f32", 4)], ids=lambda s: s.symbol)
def test_empty_ranges_write_nothing(spec: Linear, isa: Isa, compiled: Any, guarded: Guard) -> None:
    c = random_case(spec, 32, 256, 8)
    assert np.isnan(c.run(compiled(spec, isa), guarded, (1, 1), (0, 2))).all()
    assert np.isnan(c.run(compiled(spec, isa), guarded, (0, 2), (1, 1))).all()


@pytest.mark.parametrize(
    "spec",
    [Linear(FORMATS["q6_k"], "q8", 16), Linear(FORMATS["f16"], "f32", 1), Linear(FORMATS["iq2_s"], "q8", 16)],
    ids=lambda s: s.symbol,
)
def test_an_object_exports_its_kernel_and_needs_nothing(spec: Linear, isa: Isa) -> None:
    (path,) = build_objects([spec], isa)
    assert _symbols(path, "--defined-only", "--extern-only") == {exported(spec, isa), "__extendhfsf2", "__truncsfhf2"}
    assert not _symbols(path, "--undefined-only")
    relocations = subprocess.run(["readelf", "--relocs", "--wide", path], capture_output=True, text=True, check=True).stdout
    assert "hfsf2" not in relocations and "sfhf2" not in relocations  # the half conversions that LLVM adds are not called


def _symbols(path: Path, *options: str) -> set[str]:
    listing = subprocess.run(["nm", *options, path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listing.splitlines()}


def test_every_width_has_its_own_symbol_on_every_level() -> None:
    names = {exported(spec, isa) for spec in SPECS for isa in ISAS.values()}
    shared = sum(not spec.tiles for spec in SPECS)  # between a level with tiles and the one below
    assert len(names) == len(SPECS) * len(ISAS) - shared


@pytest.mark.parametrize(("name", "acts", "p"), [("f16", "q8", 1), ("q4_0", "q4", 1), ("q4_0", "q8", 3)])
def test_refuses_a_kernel_that_does_not_exist(name: str, acts: str, p: int) -> None:
    with pytest.raises(ValueError):
        Linear(FORMATS[name], acts, p)
