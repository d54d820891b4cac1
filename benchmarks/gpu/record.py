"""Kernel launches with their results, from the tests that compare every kernel with float64 (tests/codegen/gpu, on
PoCL or emulated).

What a test that passed has launched becomes a case of the kit: KIT/kernels/NNN.npz holds arrays, cases.json the numbers. Launches
of more than MAX_BYTES are left out, and so are repetitions of a kernel beyond MAX_CASES.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.codegen.gpu.build import build
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.gpu import Device

ROOT = Path(__file__).parents[2]
MAX_BYTES, MAX_CASES = 1 << 20, 3
Case = tuple[GpuKernelSpec, dict[str, Any], dict[str, Any]]  # what was given, and the arrays afterwards


class _Recorder:
    """A pytest plugin: opencl.run and emulation.run with a memory."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.pending: list[Case] = []
        self.modules: list[tuple[Any, Callable[..., dict[str, Any]]]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Any:
        from tests.codegen.gpu import emulation, opencl

        self.modules = [(module, module.run) for module in (opencl, emulation)]
        for module, run in self.modules:
            module.run = self.recorded(run)
        return (yield)

    def recorded(self, run: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        def remember(spec: GpuKernelSpec, *among: Any, **given: Any) -> dict[str, Any]:
            kept = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in given.items()}
            found = run(spec, *among, **given)
            self.pending.append((spec, kept, {name: array.copy() for name, array in found.items()}))
            return found

        return remember

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.cases += self.pending if report.passed else []
            self.pending = []

    def pytest_sessionfinish(self) -> None:
        for module, run in self.modules:
            module.run = run


def record(folder: Path, devices: Sequence[Device], tests: Sequence[str] = ("tests/codegen/gpu",)) -> list[GpuKernelSpec]:
    """Runs the tests and writes the cases and the code of their kernels, which it returns."""
    recorder = _Recorder()
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    if pytest.main([*options, *(str(ROOT / name) for name in tests)], plugins=[recorder]):
        raise RuntimeError("a kernel is not within tolerance of its reference: nothing to record")
    kept = [*_few(recorder.cases)]
    folder.mkdir(parents=True)
    (folder / "cases.json").write_text(json.dumps([_write(folder, i, case) for i, case in enumerate(kept)]))
    specs = [*{spec.symbol: spec for spec, _, _ in kept}.values()]
    for device, path in zip(devices, build(specs, devices), strict=True):
        shutil.copyfile(path, folder / f"{device.arch}.{device.suffix}")
    return specs


def _few(cases: list[Case]) -> list[Case]:
    seen: Counter[str] = Counter()
    kept = []
    for spec, given, found in cases:
        size = sum(a.nbytes for a in (*given.values(), *found.values()) if isinstance(a, np.ndarray))
        seen[spec.symbol] += size <= MAX_BYTES
        if size <= MAX_BYTES and seen[spec.symbol] <= MAX_CASES:
            kept.append((spec, given, found))
    return kept


def _write(folder: Path, i: int, case: Case) -> dict[str, Any]:
    """The arrays of a case to a file; the rest as it goes into cases.json."""
    spec, given, found = case
    arrays: dict[str, Any] = {}
    parameters: list[list[Any]] = []
    for p in spec.params:
        value = given[p.name]
        parameters.append([p.name, p.ctype if not p.is_pointer else "array" if value is not None else "null", None])
        if not p.is_pointer:
            parameters[-1][2] = float(value) if p.ctype == "float" else int(value)
        elif value is not None:
            arrays[f"given_{p.name}"] = np.ascontiguousarray(value)
            if not np.array_equal(arrays[f"given_{p.name}"].view(np.uint8), found[p.name].view(np.uint8)):
                arrays[f"found_{p.name}"] = found[p.name]
    np.savez_compressed(folder / f"{i:03}.npz", **arrays)
    env = {name: value for name, kind, value in parameters if value is not None}
    grid = [int(eval(text.replace("/", "//"), {}, env)) for text in spec.launch.grid]  # noqa: S307
    halves = getattr(spec, "dtype", "") == "f16"
    return {"symbol": spec.symbol, "grid": grid, "threads": spec.launch.threads, "parameters": parameters, "halves": halves}
