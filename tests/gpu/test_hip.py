"""Whole models for ROCm on a fake libamdhip64.so: the same plan and runtime, HIP's calls, AMD's code objects."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.errors import DeviceError
from tests.e2e.reference import Reference
from tests.gpu.driver import FakeDriver
from tests.gpu.models import DEMO, demo_specs, specs


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rocm") / "demo.llmc"
    llmc.compile(DEMO, out, targets=["cpu:native", "rocm:gfx942,gfx1100"], activations="f32")
    return out


@pytest.mark.parametrize("fixture", ["llama", "gemma2"])
def test_a_model_gives_the_recorded_logits(tmp_path: Path, reference: Reference, hip: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    out = tmp_path / "model.llmc"
    llmc.compile(reference.model, out, targets=["rocm:gfx942"], activations="f32")
    hip.reset(specs(reference.model), execute=True)
    recorded, computed = next(iter(reference.pairs(out)))
    assert not hip.wrong, hip.wrong[0]
    assert np.abs(recorded - computed).max() <= reference.f32_max_abs
    assert hip.used == 0 and hip.count("objects") == 0


def test_steps_are_recorded_and_tokens_chosen_on_the_device(artifact: Path, hip: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    hip.reset(demo_specs(), execute=True)
    with llmc.load(artifact, device="cpu") as model:
        expected = "".join(model.generate("The following", max_tokens=6, ignore_end=True))
    with llmc.load(artifact, device="rocm") as model:
        assert model.info.device.startswith("rocm:gfx")
        assert "".join(model.generate("The following", max_tokens=6, ignore_end=True)) == expected
    assert hip.count("replays") >= 3 and not hip.wrong, hip.wrong


def test_every_call_may_fail(artifact: Path, hip: FakeDriver) -> None:
    """Calls early and late, not each: CUDA's tests have those. Call 4 offers the first code, and then the second is tried."""
    hip.reset(demo_specs(), execute="best_")
    for n in [1, 2, 3, *range(5, 12), 60, 120, 250, 400]:
        hip.reset(demo_specs(), execute="best_")
        hip.fail(n, 2)
        with pytest.raises(llmc.LlmcError), llmc.load(artifact, device="rocm") as model:
            "".join(model.generate([5, 6, 7], max_tokens=5, ignore_end=True))
            pytest.fail(f"call {n} failed and nobody said so")
        assert hip.used == 0 and hip.count("objects") == 0, n


def test_code_for_another_device_is_named(artifact: Path, hip: FakeDriver) -> None:
    hip.reset([], sm=210)
    hip.fail(1, 209, "hipModuleLoadData")
    hip.library.fake_always(1)
    with pytest.raises(DeviceError, match="rocm:gfx942, rocm:gfx1100, and the device is Fake MI210: no kernel image"):
        llmc.load(artifact, device="rocm")
    hip.library.fake_always(0)
    with llmc.load(artifact) as model:
        assert model.info.device.startswith("rocm")
