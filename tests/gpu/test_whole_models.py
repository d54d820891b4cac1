"""Whole models on a fake GPU: generated host code, runtime and kernels together, each kernel run on a processor by PoCL.

What this cannot show is in codegen/gpu/README.md: CUDA's own code generator, rounding, races, speed.
"""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.codegen.gpu.build import missing
from llmc.errors import DeviceError, ToolchainError
from tests.e2e.reference import Compiled, Reference
from tests.gpu.driver import FakeDriver
from tests.gpu.models import DEMO, demo_specs, specs

pytestmark = pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")

MODELS = [
    "llama", "qwen2", "gemma2", "gpt2", "stablelm", "exaone4", "q_Q4_K_M", "q_IQ3_S",
    "mixtral", "gpt_oss", "deepseek_v2", "mamba2", "lfm2", "qwen3_next", "falcon_h1",
]  # fmt: skip
BOTH = "cpu:native cuda:sm_80"


@pytest.fixture
def demo() -> Path:
    return DEMO


@pytest.mark.parametrize("fixture", MODELS)
def test_a_model_gives_the_recorded_logits(tmp_path: Path, reference: Reference, driver: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    out = tmp_path / "model.llmc"
    llmc.compile(reference.model, out, targets=["cuda:sm_80"], activations="f32")
    driver.reset(specs(reference.model), execute=True)
    recorded, computed = next(iter(reference.pairs(out)))
    assert not driver.wrong, driver.wrong[0]
    assert np.abs(recorded - computed).max() <= reference.f32_max_abs


@pytest.mark.parametrize("fixture", ["bert", "modernbert"])
def test_an_encoder_gives_the_recorded_states(tmp_path: Path, reference: Reference, driver: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    out = tmp_path / "model.llmc"
    llmc.compile(reference.model, out, targets=["cuda:sm_80"], activations="f32")
    driver.reset(specs(reference.model), execute=True)
    ids = reference.tokens(0)
    with llmc.load(out) as model:
        states = model.embed(ids, pooling="none")
        with model.session(max_sequences=2) as session:
            together = session.step({session.open(): part for part in (ids[:5], ids)})
    assert not driver.wrong, driver.wrong[0]
    assert np.abs(states - reference.data["embd_all_0"]).max() <= reference.f32_max_abs
    assert np.abs(together[5:] - states).max() <= reference.f32_max_abs


def test_several_sequences_and_chunks_agree_with_the_processor(demo: Path, demo_artifact: Path, driver: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    driver.reset(demo_specs(), execute=True)
    ids = [int(i) for i in np.random.default_rng(0).integers(5, 4000, 70)]
    with llmc.load(demo_artifact, device="cpu") as model:
        expected = model.logits(ids)
    with llmc.load(demo_artifact) as model:
        assert model.info.device == "cuda:sm_80"
        for chunks in ([70], [1, 3, 60, 6]):
            assert np.abs(model.logits(ids, chunks=chunks) - expected).max() <= 1e-3
    assert not driver.wrong and driver.used == 0


@pytest.mark.parametrize("sm", [80, 86, 90])
def test_a_device_gets_the_best_code_it_runs(demo: Path, demo_artifact: Path, driver: FakeDriver, sm: int) -> None:
    driver.reset(demo_specs(), sm=sm)
    with llmc.load(demo_artifact, device="cuda") as model:
        assert model.info.device == ("cuda:sm_90a" if sm == 90 else "cuda:sm_80")
        model.logits([1, 2, 3])
    assert driver.launched and not driver.wrong, driver.wrong


def test_too_little_memory_says_how_much_is_needed(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset([], memory=1 << 20)
    with pytest.raises(DeviceError, match=r"the model needs \d+ bytes on cuda:sm_80, .* and \d+ of 1048576 are free"):
        llmc.load(demo_artifact, device="cuda")
    assert driver.used == 0


def test_an_artifact_for_processors_has_no_device(compiled: Compiled, demo: Path) -> None:
    with pytest.raises(DeviceError, match="holds code for processors alone"):
        llmc.load(compiled(demo), device="cuda")


def test_a_second_device_does_not_exist(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset([])
    with pytest.raises(DeviceError, match="no CUDA device 1: there are 1"):
        llmc.load(demo_artifact, device="cuda:1")


def test_a_launch_that_fails_is_reported_and_the_next_step_works(demo: Path, demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset([])  # no kernel is known: the first launch is refused
    with llmc.load(demo_artifact, device="cuda") as model:
        with pytest.raises(DeviceError, match="a step on cuda:sm_80: invalid argument"):
            model.logits([1, 2])
        driver.reset(demo_specs())
        model.logits([1, 2])


def test_old_architectures_are_refused(tmp_path: Path, demo: Path) -> None:
    with pytest.raises(ToolchainError, match="sm_80 and later"):
        llmc.compile(demo, tmp_path / "x.llmc", targets=["cuda:sm_75"])
