"""PTX on request: text that a driver compiles for devices later than all of an artifact's machine code."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.codegen.gpu.build import missing
from llmc.errors import DeviceError
from tests.gpu.driver import FakeDriver
from tests.gpu.models import DEMO, demo_specs

pytestmark = pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ptx") / "demo.llmc"
    llmc.compile(DEMO, out, targets=["cpu:native", "cuda:sm_80,sm_90a+ptx"], activations="f32")
    return out


def test_the_text_ends_with_a_zero_and_names_its_architecture(artifact: Path) -> None:
    text = (artifact / "cuda-compute_90.ptx").read_bytes()
    assert text.count(b"\0") == 1 and text.endswith(b"\0")
    assert b".target sm_90\n" in text and b".address_size 64" in text
    for spec in demo_specs():
        assert f".entry {spec.symbol}(".encode() in text


@pytest.mark.parametrize(("sm", "code"), [(80, "sm_80"), (86, "sm_80"), (90, "sm_90a"), (100, "compute_90"), (121, "compute_90")])
def test_machine_code_comes_first(artifact: Path, driver: FakeDriver, sm: int, code: str) -> None:
    driver.reset(demo_specs(), sm=sm)
    with llmc.load(artifact, device="cuda") as model:
        assert model.info.device == f"cuda:{code}"
        assert np.all(np.isfinite(model.logits([1, 2, 3])))
    assert driver.launched and not driver.wrong


def test_an_older_device_cannot_use_it(artifact: Path, driver: FakeDriver) -> None:
    driver.reset([], sm=75)
    with pytest.raises(DeviceError, match="sm_80, cuda:sm_90a, cuda:compute_90, and the device is sm_75: llmc needs sm_80"):
        llmc.load(artifact, device="cuda")


def test_a_driver_older_than_the_text_is_quoted(artifact: Path, driver: FakeDriver) -> None:
    driver.reset([], sm=100)
    driver.fail(1, 222, "cuModuleLoadData")
    with pytest.raises(DeviceError, match="the device is sm_100: the provided PTX was compiled with an unsupported toolchain"):
        llmc.load(artifact, device="cuda")
