"""A GPU that is not there, is too old, is full, or breaks: an error that says so, nothing left behind, and the process lives."""

import subprocess
import sys
from pathlib import Path

import pytest

import llmc
from llmc.codegen.gpu.build import missing
from llmc.errors import DeviceError, LlmcError
from tests.gpu import driver as fake
from tests.gpu.driver import FakeDriver
from tests.gpu.models import demo_specs

pytestmark = pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")

OUT_OF_MEMORY, BAD_IMAGE, LAUNCH_FAILED = 2, 200, 719


def use(artifact: Path) -> None:
    """What a session does: prefill, decoding until a step is recorded and replayed, sampling, growing pages."""
    with llmc.load(artifact, device="cuda") as model:
        with model.session(context=300) as session:
            s = session.open()
            session.prefill(s, list(range(5, 205)))
            for _ in range(3):
                session.step({s: [7]})
        "".join(model.generate([5, 6, 7], max_tokens=3, ignore_end=True))


def test_every_call_may_fail(demo_artifact: Path, driver: FakeDriver) -> None:
    """The n-th call of the driver fails, for each n: a clean error, and everything is given back."""
    driver.reset(demo_specs(), execute="best_")
    use(demo_artifact)
    n, step = 1, 1
    while True:
        driver.reset(demo_specs(), execute="best_")
        driver.fail(n, OUT_OF_MEMORY)
        try:
            use(demo_artifact)
        except LlmcError as error:
            assert isinstance(error, DeviceError) or "lacks kernel" in str(error), n
        else:
            assert not driver.failed, f"call {n} failed and nobody said so"
            break
        assert driver.used == 0 and driver.count("objects") == 0, f"call {n} failed and left something behind"
        n, step = n + step, max(1, n // 12)  # all of the first, then ever fewer
    assert n > 100 and not driver.wrong


def test_a_device_that_breaks_in_a_step_is_reported_by_every_call_after(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset(demo_specs(), execute=True)
    with llmc.load(demo_artifact, device="cuda") as model, model.session() as session:
        s = session.open()
        driver.kernels = {}  # the callback fails, when the launch is executed
        for _ in range(2):
            with pytest.raises(DeviceError, match="a step on cuda:sm_80: unspecified launch failure"):
                session.prefill(s, [5, 6])
    driver.reset([])


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        ("cuModuleLoadData", BAD_IMAGE, "the device is sm_80: device kernel image is invalid"),
        ("cuMemcpyHtoDAsync_v2", LAUNCH_FAILED, "copying constants on cuda:sm_80: unspecified launch failure"),
        ("cuInit", 100, "CUDA device 0 cannot be opened"),
        ("cuModuleGetFunction", 500, "the code for cuda:sm_80 lacks kernel"),
    ],
)
def test_what_fails_at_opening_is_named(demo_artifact: Path, driver: FakeDriver, call: str, code: int, message: str) -> None:
    driver.reset(demo_specs())
    driver.fail(1, code, call)
    with pytest.raises(LlmcError, match=message):
        llmc.load(demo_artifact, device="cuda")
    assert driver.used == 0 and driver.count("objects") == 0


def test_weights_that_do_not_arrive_fail_the_step(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset(demo_specs(), execute="best_")
    driver.fail(9, LAUNCH_FAILED, "cuMemcpyHtoDAsync_v2")
    with pytest.raises(DeviceError, match="on cuda:sm_80: unspecified launch failure"):
        use(demo_artifact)
    assert driver.used == 0 and driver.count("objects") == 0


def test_memory_that_runs_out_midway_is_reported_and_the_session_goes_on(demo_artifact: Path, driver: FakeDriver) -> None:
    driver.reset(demo_specs())
    with llmc.load(demo_artifact, device="cuda") as model, model.session(context=512, max_sequences=2) as session:
        s, other = session.open(), session.open()
        session.prefill(s, [5] * 100)
        driver.fail(1, OUT_OF_MEMORY, "cuMemAlloc_v2")
        with pytest.raises(DeviceError, match=r"cache pages need \d+ bytes on cuda:sm_80, where \d+ of \d+ are free"):
            session.prefill(other, [5] * 500)
        session.prefill(other, [5] * 10)
        session.step({s: [6], other: [7]})
    assert driver.used == 0


@pytest.mark.parametrize(
    ("sm", "says"), [(75, "sm_75: llmc needs sm_80 or later"), (120, "sm_120: compile the model for it too")]
)
def test_a_device_without_code_says_what_it_needs(demo_artifact: Path, driver: FakeDriver, sm: int, says: str) -> None:
    driver.reset([], sm=sm)
    with pytest.raises(DeviceError, match=f"holds code for cuda:sm_80, cuda:sm_90a, and the device is {says}"):
        llmc.load(demo_artifact, device="cuda")


SCRIPT = """
import ctypes, sys
import llmc
if sys.argv[2]:
    ctypes.CDLL(sys.argv[2], mode=ctypes.RTLD_GLOBAL)
try:
    llmc.load(sys.argv[1], device="cuda")
except llmc.LlmcError as error:
    print(error)
with llmc.load(sys.argv[1]) as model:
    print(model.info.device)
"""


def said(artifact: Path, library: Path | str) -> list[str]:
    """What opening the artifact says in a process of its own, first on the GPU, then anywhere."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, artifact, library], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_without_a_driver_the_processor_computes(demo_artifact: Path) -> None:
    assert said(demo_artifact, "") == ["no NVIDIA driver: libcuda.so.1 cannot be opened", "cpu"]


def test_an_old_driver_is_named(demo_artifact: Path, tmp_path: Path) -> None:
    library = fake.build("libcuda.so.1", tmp_path, without="cuGraphInstantiateWithFlags")
    assert said(demo_artifact, library) == ["the NVIDIA driver lacks cuGraphInstantiateWithFlags: it is too old", "cpu"]
