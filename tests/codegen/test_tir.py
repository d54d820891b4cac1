"""The words kernels are written in, on every level this machine runs, against numpy."""

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, exported, params
from llmc.target import Isa, cpu_flags
from tests.tolerance import F32_FUNCTION

_PARAMS = params("const uint8_t *a, const uint8_t *b, uint8_t *y, int32_t n")
_HALVES = np.arange(65536, dtype=np.uint16)


@dataclass(frozen=True)
class Words:
    """A kernel whose body is a function of (isa, p, i), called for i in [0, n)."""

    symbol: str
    body: Callable[[Isa, SimpleNamespace, Any], None]
    params: tuple[Param, ...] = _PARAMS

    def generate(self, isa: Isa) -> Any:
        from llmc.codegen import tir

        def loop(p: SimpleNamespace) -> None:
            with tir.loop(0, p.n) as i:
                self.body(isa, p, i)

        return tir.prim_func(self, isa, loop)


Run = Callable[..., NDArray[Any]]


@pytest.fixture
def run(isa: Isa, tmp_path: Path) -> Run:
    """run(body, a, b, out dtype, out count, n) -> y, from a kernel compiled in this process."""
    if not cpu_flags().issuperset(isa.flags):
        pytest.skip(f"this processor does not run {isa.name}")
    from llmc.codegen.build_worker import object_bytes

    def call(body: Any, a: NDArray[Any], b: NDArray[Any], dtype: str, count: int, n: int) -> NDArray[Any]:
        spec = Words("words", body)
        (tmp_path / "words.o").write_bytes(object_bytes(spec, isa))
        subprocess.run(["gcc", "-shared", "-o", tmp_path / "words.so", tmp_path / "words.o"], check=True)
        y = np.zeros(count, dtype)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, y)]
        getattr(ctypes.CDLL(str(tmp_path / "words.so")), exported(spec, isa))(*pointers, ctypes.c_int32(n))
        return y

    return call


def test_every_half_widens_to_its_float(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        halves = tir.load(tir.view(p.a, "uint16"), i * isa.lanes, isa.lanes)
        tir.store(tir.view(p.y, "float32"), i * isa.lanes, tir.f16_to_f32(isa, halves))

    y = run(body, _HALVES, _HALVES, "f4", 65536, 65536 // isa.lanes)
    expected = _HALVES.view(np.float16).astype(np.float32)
    number = ~np.isnan(expected)
    assert y[number].tobytes() == expected[number].tobytes()
    assert np.isnan(y[~number]).all()


def test_floats_narrow_to_the_nearest_half_ties_to_even(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        x = tir.load(tir.view(p.a, "float32"), i * isa.lanes, isa.lanes)
        tir.store(tir.view(p.y, "uint16"), i * isa.lanes, tir.f32_to_f16(isa, x))

    halves = np.sort(_HALVES.view(np.float16)[np.isfinite(_HALVES.view(np.float16))].astype(np.float32))
    ties = (halves[1:] + halves[:-1]) / 2
    words = np.random.default_rng(0).integers(0, 1 << 32, 4096, dtype=np.uint32).view(np.float32)
    others = np.array([65519, 65520, 65536, 1e-8, -1e-8, np.inf], np.float32)
    x = np.concatenate([halves, ties, np.nextafter(ties, np.float32(0)), words, others])
    x = np.pad(x, (0, -len(x) % isa.lanes))
    y = run(body, x, x, "u2", len(x), len(x) // isa.lanes)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(np.float16)
    number = ~np.isnan(x)
    assert y[number].tobytes() == expected[number].tobytes()
    assert np.isnan(y[~number].view(np.float16)).all()


def test_exp_is_within_its_bound(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        x = tir.load(tir.view(p.a, "float32"), i * isa.lanes, isa.lanes)
        tir.store(tir.view(p.y, "float32"), i * isa.lanes, tir.exp(isa, x))

    x = np.linspace(-87, 88, 1 << 16, dtype=np.float32)
    x[0], x[1] = 0.0, -87.0
    y = run(body, x, x, "f4", len(x), len(x) // isa.lanes)
    expected = np.exp(x.astype(np.float64))
    assert np.max(np.abs(y - expected) / expected) < F32_FUNCTION
    assert y[0] == 1.0
    assert run(body, np.full(16, -1e30, np.float32), x, "f4", 16, 16 // isa.lanes).max() < 2e-38  # clamped, not garbage


def test_exp2_is_within_its_bound_and_exact_at_zero(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        x = tir.load(tir.view(p.a, "float32"), i * isa.lanes, isa.lanes)
        tir.store(tir.view(p.y, "float32"), i * isa.lanes, tir.exp2(isa, x))

    x = np.linspace(-126, 0, 1 << 16, dtype=np.float32)
    x[:3] = -3e38, -0.0, -1e-30
    y = run(body, x, x, "f4", len(x), len(x) // isa.lanes)
    expected = np.exp2(np.maximum(x, -126).astype(np.float64))
    assert np.max(np.abs(y - expected) / expected) < F32_FUNCTION
    assert (y[[1, 2, -1]] == 1.0).all() and y[0] == 2.0**-126


@pytest.mark.parametrize("count", [1, 2, 7, 16, 31, 80])
def test_vectors_cover_any_count(run: Run, isa: Isa, count: int) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        def number(at: Any, width: int) -> None:
            value = tir.load(tir.view(p.a, "int32"), at, width)
            tir.store(tir.view(p.y, "int32"), at, value + tir.counting(at, width))

        tir.cover(count, isa.lanes, number)

    x = np.random.default_rng(count).integers(-99, 99, 128, dtype=np.int32)
    y = run(body, x, x, "i4", 128, 1)
    assert (y[:count] == x[:count] + np.arange(count)).all() and not y[count:].any()


def test_interleave_alternates(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        a, b = (tir.let(tir.load(tir.view(m, "float32"), i * isa.lanes, isa.lanes)) for m in (p.a, p.b))
        tir.store(tir.view(p.y, "float32"), i * 2 * isa.lanes, tir.interleave(a, b))

    a, b = np.random.default_rng(4).standard_normal((2, 64)).astype(np.float32)
    assert (run(body, a, b, "f4", 128, 64 // isa.lanes) == np.stack([a, b], axis=1).reshape(-1)).all()


def test_the_largest_magnitude_may_be_negative(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        vectors = [tir.load(tir.view(p.a, "float32"), i * 3 * isa.lanes + v * isa.lanes, isa.lanes) for v in range(3)]
        tir.store(tir.view(p.y, "float32"), i, tir.largest_magnitude(vectors))

    x = np.random.default_rng(5).standard_normal((32, 3 * isa.lanes)).astype(np.float32)
    x[0] = -0.0
    assert (run(body, x, x, "f4", 32, 32) == np.abs(x).max(axis=1)).all()


def test_reductions_take_every_lane(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        x = tir.let(tir.load(tir.view(p.a, "float32"), i * isa.lanes, isa.lanes))
        y = tir.view(p.y, "float32")
        tir.store(y, i * 2, tir.reduce_add(x))
        tir.store(y, i * 2 + 1, tir.reduce_max(x))

    x = np.random.default_rng(1).integers(-1000, 1000, 64 * isa.lanes).astype(np.float32)
    y = run(body, x, x, "f4", 128, 64).reshape(64, 2)
    rows = x.reshape(64, isa.lanes)
    assert (y[:, 0] == rows.sum(axis=1)).all() and (y[:, 1] == rows.max(axis=1)).all()


def test_whole_numbers_are_summed_over_all_lanes(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        x = tir.load(tir.view(p.a, "int32"), i * isa.lanes, isa.lanes)
        tir.store(tir.view(p.y, "int32"), i, tir.reduce_add(x))

    x = np.random.default_rng(6).integers(-(1 << 20), 1 << 20, (16, isa.lanes), dtype=np.int32)
    assert (run(body, x, x, "i4", 16, 16) == x.sum(axis=1)).all()


@pytest.mark.parametrize("largest", [3, 15, 31, 63, 127])
def test_unsigned_dots_are_exact_up_to_their_largest_code(run: Run, isa: Isa, largest: int) -> None:
    """Eight dot products in one call, so that sums of several stay in sixteen bits where they may."""
    from llmc.codegen import tir

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        size = 4 * isa.lanes
        us = [tir.let(tir.load(p.a, (i * 8 + j) * size, size)) for j in range(8)]
        ss = [tir.bits(tir.load(p.b, (i * 8 + j) * size, size), "int8") for j in range(8)]
        total = tir.dot_u8s8(isa, tir.i32(5, isa.lanes), us, ss, largest)
        tir.store(tir.view(p.y, "int32"), i * isa.lanes, total)

    rng = np.random.default_rng(2)
    u = rng.integers(0, largest + 1, (8, 8, isa.lanes, 4), dtype=np.uint8)
    s = rng.integers(-127, 128, u.shape, dtype=np.int8)
    u[:4], s[:2], s[2:4] = largest, 127, -127
    expected = 5 + (u.astype(np.int32) * s).sum(axis=(1, 3))
    assert (run(body, u, s, "i4", 8 * isa.lanes, 8).reshape(8, -1) == expected).all()


def test_signed_dots_are_exact_at_the_extremes(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    if isa.dot == "vnni":
        pytest.skip("levels with VNNI raise signed codes by 128 instead")

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        size = 4 * isa.lanes
        w = tir.bits(tir.let(tir.load(p.a, i * size, size)), "int8")
        s = tir.bits(tir.load(p.b, i * size, size), "int8")
        tir.store(tir.view(p.y, "int32"), i * isa.lanes, tir.dot_s8s8(isa, tir.i32(0, isa.lanes), [w], [s]))

    w = np.repeat(np.array([-128, -127, -1, 0, 1, 127], np.int8), 3 * 4 * isa.lanes).reshape(18, isa.lanes, 4)
    s = np.tile(np.repeat(np.array([-127, 0, 127], np.int8), 4 * isa.lanes), 6).reshape(w.shape)
    expected = (w.astype(np.int32) * s).sum(axis=2)
    assert (run(body, w, s, "i4", expected.size, 18).reshape(expected.shape) == expected).all()


def test_lookup_reads_a_table_of_sixteen_bytes(run: Run, isa: Isa) -> None:
    from llmc.codegen import tir

    table = [(37 * i + 11) % 256 for i in range(16)]

    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        size = 4 * isa.lanes
        tir.store(p.y, i * size, tir.lookup16(table, tir.load(p.a, i * size, size)))

    index = np.random.default_rng(3).integers(0, 16, 16 * isa.lanes, dtype=np.uint8)
    assert (run(body, index, index, "u1", index.size, 4) == np.array(table, np.uint8)[index]).all()


@pytest.mark.parametrize("by", [-6, -3, 0, 1, 4])
@pytest.mark.parametrize("mask", [0x03, 0x14, 0xF0, 0xFF])
def test_fields_of_bytes_are_moved_and_masked(run: Run, by: int, mask: int) -> None:
    def body(isa: Isa, p: SimpleNamespace, i: Any) -> None:
        from llmc.codegen import tir

        tir.store(p.y, i * 32, tir.field_moved(isa, tir.load(p.a, i * 32, 32), by, mask))

    stored = np.arange(256, dtype=np.uint8)
    moved = (stored.astype(np.uint16) << by if by > 0 else stored >> -by).astype(np.uint8) & np.uint8(mask)
    assert np.array_equal(run(body, stored, stored, "u1", 256, 8), moved)
