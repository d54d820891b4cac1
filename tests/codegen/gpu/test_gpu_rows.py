"""Kernels that work row by row or element by element on a GPU."""

import numpy as np
import pytest

from llmc.codegen.gpu.kernels import elementwise
from llmc.codegen.gpu.kernels.norm import GpuHeadNorm, GpuNorm, reference, reference_layer
from llmc.codegen.kernels import activation
from tests.codegen.gpu import opencl

TOKENS, LD = 3, 320


def rows(columns: int, seed: int = 0) -> "np.ndarray":
    found = np.zeros((TOKENS, LD), np.float32)
    found[:, :columns] = np.random.default_rng(seed).normal(size=(TOKENS, columns)) * 3
    return found


@pytest.mark.parametrize("n", [100, 313])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_norms(kind: str, add: bool, n: int) -> None:
    x, o = rows(n), rows(n, 1)
    w, b = rows(n, 2)[0], rows(n, 3)[0]
    found = opencl.run(
        GpuNorm(add, kind, kind == "layer"), x=x, o=o, w=w, b=b, y=np.zeros_like(x), n=n, ldx=LD, ldo=LD, ldy=LD, eps=1e-5,
        alpha=0.5, n_tokens=TOKENS,
    )  # fmt: skip
    total = x + 0.5 * o if add else x
    args = (total[:, :n], w[:n])
    expected = reference(*args, 1e-5) if kind == "rms" else reference_layer(*args, b[:n], 1e-5)
    assert np.allclose(found["x"], total, atol=1e-6)
    assert np.abs(found["y"][:, :n] - expected).max() <= 2e-6 * np.abs(expected).max()


def test_a_residual_sum_needs_no_norm() -> None:
    x, o = rows(313), rows(313, 1)
    given = {"x": x, "o": o, "w": None, "b": None, "y": None}
    found = opencl.run(GpuNorm(True, ""), **given, n=313, ldx=LD, ldo=LD, ldy=LD, eps=0.0, alpha=2.0, n_tokens=TOKENS)
    assert np.allclose(found["x"], x + 2 * o, atol=1e-6)


@pytest.mark.parametrize(("d", "kind"), [(64, "rms"), (80, "rms"), (40, "layer")])
def test_norms_of_heads(d: int, kind: str) -> None:
    heads, padded = LD // d, d if kind == "rms" else 48
    x, w = rows(LD), np.random.default_rng(4).normal(size=(heads, padded)).astype(np.float32)
    found = opencl.run(GpuHeadNorm(d, kind), x=x, w=w, heads=heads, ldx=LD, eps=1e-6, n_tokens=TOKENS)["x"]
    split = x.reshape(TOKENS, -1, d)
    expected = reference(split, w[0], 1e-6) if kind == "rms" else reference_layer(split, w[:, :d], 0 * w[:, :d], 1e-6)
    expected = expected.reshape(TOKENS, -1)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("function", elementwise.FUNCTIONS)
def test_activation_functions(function: str) -> None:
    gate, up = rows(300), rows(300, 1)
    spec = elementwise.GpuActivation(function, True)
    found = opencl.run(spec, gate=gate, up=up, y=np.zeros_like(gate), n=300, ldg=LD, ldu=LD, ldy=LD, n_tokens=TOKENS)["y"]
    expected = activation.reference(function, gate[:, :300], up[:, :300])
    assert np.abs(found[:, :300] - expected).max() <= 1e-6 * np.abs(expected).max()


def test_xielu() -> None:
    x, parameters = rows(300), np.array([0.8, 0.7, 0.5, -1e-6], np.float32)
    given = {"x": x, "parameters": parameters, "y": np.zeros_like(x)}
    found = opencl.run(elementwise.GpuXielu(), **given, n=300, ldx=LD, ldy=LD, n_tokens=TOKENS)["y"]
    expected = activation.reference("xielu", x[:, :300], parameters)
    assert np.abs(found[:, :300] - expected).max() <= 1e-6 * np.abs(expected).max()


def test_limits_and_factors_by_position() -> None:
    x, positions = rows(300), np.array([3, 8, 900], np.int32)
    clamped = opencl.run(elementwise.GpuClamp(), x=x, n=300, ldx=LD, limit=1.5, n_tokens=TOKENS)["x"]
    assert np.array_equal(clamped[:, :300], np.clip(x[:, :300], -1.5, 1.5))
    scaled = opencl.run(
        elementwise.GpuScalePositions(), x=x, positions=positions, factors=np.array([1, 2, 3], np.float32), count=3, length=4,
        n=300, ldx=LD, n_tokens=TOKENS,
    )["x"]  # fmt: skip
    assert np.array_equal(scaled[:, :300], x[:, :300] * np.array([[1], [3], [3]], np.float32))


def test_softcap() -> None:
    x = rows(300) * 20
    found = opencl.run(elementwise.GpuSoftcap(), x=x, n=300, ldx=LD, cap=30.0, n_tokens=TOKENS)["x"]
    assert np.abs(found[:, :300] - 30 * np.tanh(x[:, :300].astype(np.float64) / 30)).max() <= 1e-5


def test_rows_and_columns_are_taken_by_index() -> None:
    x = rows(300)
    by_row = opencl.run(
        elementwise.GpuTakeRows(True),
        x=x,
        rows=np.array([2, 0], np.int32),
        y=np.zeros((2, LD), np.float32),
        n=LD,
        ldx=LD,
        ldy=LD,
        n_tokens=2,
    )["y"]
    columns = np.random.default_rng(5).permutation(300).astype(np.int32)
    by_column = opencl.run(
        elementwise.GpuTakeColumns(), x=x, columns=columns, y=np.zeros_like(x), n=300, ldx=LD, ldy=LD, n_tokens=TOKENS
    )["y"]
    assert np.array_equal(by_row, x[[2, 0]]) and np.array_equal(by_column[:, :300], x[:, columns])


def test_columns_are_scaled() -> None:
    x, factors, bias = rows(300), rows(300, 1)[0], rows(300, 2)[0]
    given = {"x": x, "factors": factors, "bias": bias}
    found = opencl.run(elementwise.GpuScaleColumns(True), **given, n=300, ldx=LD, n_tokens=TOKENS)["x"]
    assert np.abs(found - (x * factors + bias)).max() <= 1e-5
