"""The script that checks and measures on a GPU machine, on the fake driver: that it works, and that it sees what is wrong."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import kit
from benchmarks.models import Model
from llmc.codegen.gpu.build import missing
from llmc.codegen.gpu.spec import GpuKernelSpec
from tests.gpu.driver import FakeDriver
from tests.gpu.models import DEMO, demo_specs, specs

pytestmark = pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")


@dataclass(frozen=True)
class Kit:
    """A kit of small things, and the kernels whose launches it holds."""

    folder: Path
    kernels: list[GpuKernelSpec]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    pytest.importorskip("pyopencl")
    out = tmp_path_factory.mktemp("kit") / "kit"
    mma = "tests/codegen/gpu/test_gpu_linear_mma.py::test_every_tiling_is_the_same_product"
    tests = ["tests/codegen/gpu/test_gpu_best.py", "tests/codegen/gpu/test_gpu_attention.py", mma]
    return Kit(out, kit.make(out, "tiny", "q4_k_m", ["cuda:sm_80"], {"demo": DEMO}, ["f32"], tests))


@pytest.fixture(scope="module")
def folder(made: Kit) -> Path:
    return made.folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """run.py of the kit, in this process, where the fake driver is."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("kit_run", folder / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


def test_models_are_compared_with_what_was_recorded(
    run: Callable[[list[str]], int], made: Kit, driver: FakeDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(made.kernels) > 5
    driver.reset([*{spec.symbol: spec for spec in (*demo_specs(), *made.kernels)}.values()], execute=True)
    assert run(["--only", "tests", "--no-sanitizer"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["kernels"]["kernels"].keys() == {spec.symbol for spec in made.kernels}
    (found,) = told["models"].values()
    assert found["ok"] and 0 < found["max_abs"] <= found["tolerance"]
    assert not driver.wrong


def test_wrong_results_fail(run: Callable[[list[str]], int], made: Kit, driver: FakeDriver) -> None:
    driver.reset([*demo_specs(), *made.kernels])  # nothing is computed
    assert run(["--only", "tests", "--no-sanitizer"]) == 1


def test_a_measurement_runs_through(
    run: Callable[[list[str]], int], folder: Path, driver: FakeDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.reset(specs(Model("tiny", "q4_k_m").gguf, exact=False))
    assert run(["--only", "bench", "--quick"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["bench"]
    assert {"prefill", "decode_1", "decode_8", "decode_64", "decode_64_eager", "memory_bytes"} <= found.keys()
    assert found["memory_bytes"] > found["decode_1"]["weight_bytes_per_second"] * found["decode_1"]["step_seconds"] / 2
    assert driver.count("replays") and not driver.wrong
    (weights,) = (folder / "large" / "model.llmc").glob("weights*.bin")
    data = np.fromfile(weights, np.uint8)
    assert data.size == json.loads((folder / "large" / "fill.json").read_text())["size"] and len(np.unique(data[-4096:])) > 100


def test_without_a_gpu_it_says_so(folder: Path) -> None:
    done = subprocess.run([sys.executable, folder / "run.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 77 and "nothing was checked or measured: no NVIDIA driver" in done.stderr
