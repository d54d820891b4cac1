"""Recurrent layers on a GPU: two sequences, two steps each; outputs and the state that is left, against the references."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.gpu.kernels import causal_conv
from llmc.codegen.gpu.kernels.causal_conv import GpuCausalConv
from llmc.codegen.gpu.kernels.elementwise import GpuSliceColumns
from llmc.codegen.gpu.kernels.gated_norm import GpuGatedNorm
from llmc.codegen.gpu.kernels.head_state import GpuDeltaRule, GpuSsd
from llmc.codegen.gpu.kernels.selective_scan import GpuSelectiveScan
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.codegen.kernels.causal_conv import CausalConv
from llmc.ir import recurrence
from llmc.ir.ops import CATALOGUE
from tests.codegen.gpu import opencl

Array = NDArray[Any]
STEPS = [(5, 1), (1, 7)]  # tokens of each sequence
SLOTS, OFFSET = (2, 0), 64  # of the sequences; bytes of a slot before the state
RNG = np.random.default_rng(11)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def check(
    spec: GpuKernelSpec, elements: int, rows: dict[str, Array], given: dict[str, Any], columns: int,
    reference: Callable[[dict[str, Array]], Array],
) -> None:  # fmt: skip
    """Runs both steps of both sequences. `rows` [tokens, ...] are of all steps, sequence by sequence; reference(rows) is the
    result of a whole sequence."""
    lengths = np.sum(STEPS, axis=0)
    slot_bytes = OFFSET + 4 * elements
    pool = np.zeros((3, slot_bytes // 4), np.float32)
    found: list[list[Array]] = [[], []]
    done = [0, lengths[0]]
    for counts in STEPS:
        picked = np.concatenate([np.arange(at, at + n) for at, n in zip(done, counts, strict=True)])
        step = {name: value[picked] for name, value in rows.items()}
        result = opencl.run(
            spec, **step, **given, y=np.full((len(picked), columns), np.nan, np.float32),
            states=pool, tables=np.array([[SLOTS[0], 9], [SLOTS[1], 9]], np.int32),
            starts=np.cumsum([0, *counts]).astype(np.int32), table_stride=2, slot_bytes=slot_bytes, n_seqs=2,
        )  # fmt: skip
        pool, y = result["states"], result["y"]
        assert not pool[1].any()
        for i, part in enumerate(np.split(y, [counts[0]])):
            found[i].append(part)
            done[i] += counts[i]
    for i, start in enumerate((0, lengths[0])):
        expected = reference({name: value[start : start + lengths[i]] for name, value in rows.items()})
        y = np.concatenate(found[i])[:, : expected.shape[1]]
        assert np.abs(y - expected).max() <= 2e-5 * np.abs(expected).max(), i


@pytest.mark.parametrize(("taps", "function", "gated", "bias"), [(4, "silu", False, True), (3, "", True, False)])
def test_causal_conv(taps: int, function: str, gated: bool, bias: bool) -> None:
    spec, n = CausalConv(taps, function, gated), 144
    w, b = normal(taps, n), normal(n) * bias
    rows = {name: normal(14, n) for name in ("x", "before", "after")}

    def reference(of: dict[str, Array]) -> Array:
        x = of["x"] * (of["before"] if gated else 1)
        y = causal_conv.reference(spec, np.zeros((taps - 1, n)), x, w, b)
        return y * (of["after"] if gated else 1)

    check(GpuCausalConv(spec, bias), (taps - 1) * n, rows, {"w": w, "b": b, "ld": n}, n, reference)


def test_selective_scan() -> None:
    n, features = 80, 16
    a, d = -np.exp(normal(n, features)), normal(n)
    rows = {"x": normal(14, n), "dt": 3 * normal(14, n), "b": normal(14, features), "c": normal(14, features)}

    def reference(of: dict[str, Array]) -> Array:
        return recurrence.selective_scan(np.zeros((n, features)), of["x"], of["dt"], of["b"], of["c"], a, d)[0]

    given = {"a": np.ascontiguousarray(a.T), "d": d, "ld": n, "ldb": features}
    check(GpuSelectiveScan(features), features * n, rows, given, n, reference)


@pytest.mark.parametrize(("heads", "groups", "head_dim", "features"), [(4, 2, 20, 16), (2, 1, 64, 37)])
def test_ssd(heads: int, groups: int, head_dim: int, features: int) -> None:
    inner = heads * head_dim
    bias, a, d = normal(heads), -np.exp(normal(heads)), normal(heads)
    rows = {"x": normal(14, inner + 2 * groups * features), "dt": normal(14, heads)}

    def reference(of: dict[str, Array]) -> Array:
        state = np.zeros((heads, head_dim, features))
        return recurrence.ssd(state, of["x"], of["dt"], bias, a, d, groups, (0.1, 2.0))[0]

    given = {"bias": bias, "a": a, "d": d, "heads": heads, "groups": groups, "ldx": rows["x"].shape[1], "lddt": heads,
             "ldy": inner, "dt_min": 0.1, "dt_max": 2.0}  # fmt: skip
    check(GpuSsd(head_dim, features), heads * 64 * features, rows, given, inner, reference)


@pytest.mark.parametrize("tiled", [False, True])
def test_delta_rule(tiled: bool) -> None:
    heads, key_heads, key_dim, value_dim = 4, 2, 36, 24
    bias, a = normal(heads), -np.exp(normal(heads))
    rows = {"x": normal(14, 2 * key_heads * key_dim + heads * value_dim), "dt": normal(14, heads), "beta": normal(14, heads)}

    def reference(of: dict[str, Array]) -> Array:
        state = np.zeros((heads, value_dim, key_dim))
        return recurrence.delta_rule(state, of["x"], of["dt"], of["beta"], bias, a, key_heads, tiled)[0]

    given = {"bias": bias, "a": a, "heads": heads, "key_heads": key_heads, "ldx": rows["x"].shape[1], "ldh": heads,
             "ldy": heads * value_dim}  # fmt: skip
    check(GpuDeltaRule(key_dim, value_dim, tiled), heads * 32 * key_dim, rows, given, heads * value_dim, reference)


@pytest.mark.parametrize("gate", ["before", "after"])
@pytest.mark.parametrize(("d", "shared"), [(48, True), (300, False)])
def test_gated_norm(d: int, shared: bool, gate: str) -> None:
    groups = 2
    x, z, w = normal(3, groups * d), normal(3, groups * d), normal(d if shared else groups * d)
    found = opencl.run(
        GpuGatedNorm(d, gate), x=x, z=z, w=w, groups=groups, w_stride=0 if shared else d, ldx=groups * d, eps=1e-5, n_tokens=3
    )["x"]
    (expected,) = CATALOGUE["gated_norm"].compute([x, z, w], {"groups": groups, "gate": gate, "eps": 1e-5})
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_slices_of_columns() -> None:
    x, attrs = normal(3, 300), {"start": 7, "width": 20, "stride": 90, "count": 3}
    found = opencl.run(GpuSliceColumns(), x=x, y=np.full((3, 64), np.nan, np.float32), **attrs, ldx=300, n=64, n_tokens=3)["y"]
    (expected,) = CATALOGUE["slice_columns"].compute([x], attrs)
    assert np.array_equal(found[:, :60], expected) and not found[:, 60:].any()
