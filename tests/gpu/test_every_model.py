"""Every open model has GPU code: its graph lowers, and its kernels build for NVIDIA's and AMD's architectures."""

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from llmc.codegen.gpu import build
from llmc.codegen.gpu.lower import lower
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.frontend.load import for_gpu, open_model
from llmc.gpu import DEVICES
from llmc.passes.pipeline import optimize
from tests.codegen.gpu import cubin

MECHANISMS = ("gpt_oss", "deepseek_v2", "qwen3_next")  # experts with biases, latents, states: most kernels there are
CODE_BYTES = 10 << 20  # of one architecture, at most
SPILL = 16  # bytes of local memory in a thread: an address that ptxas keeps there for the sake of one more block
CUDA = [
    pytest.param(name, marks=() if name in ("cuda:sm_80", "cuda:sm_90a") else pytest.mark.slow)
    for name in DEVICES
    if name.startswith("cuda")
]
needs_nvrtc = pytest.mark.skipif(
    build.missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]"
)


def sources(shared: Path) -> Iterator[Path]:
    """Each open model: its GGUF file, or its directory of Hugging Face files."""
    for folder in sorted((shared / "models" / "open").iterdir()):
        gguf = folder / "model.gguf"
        yield gguf if gguf.exists() else folder / "hf"


@cache
def specs(source: Path) -> tuple[GpuKernelSpec, ...]:
    return tuple(lower(optimize(for_gpu(open_model(source).graph), "f32", "f16")).specs)


def test_every_open_model_lowers(shared: Path) -> None:
    found = {source.parent.name: len(specs(source)) for source in sources(shared)}
    assert len(found) >= 60 and min(found.values()) > 5, found


@needs_nvrtc
@pytest.mark.parametrize("name", CUDA)
def test_mechanisms_build_for_every_architecture(shared: Path, name: str) -> None:
    models = [specs(shared / "models" / "open" / model / "model.gguf") for model in MECHANISMS]
    together = list({spec.symbol: spec for model in models for spec in model}.values())
    (path,) = build.build(together, [DEVICES[name]])
    found = cubin.kernels(path.read_bytes())
    assert found.keys() == {spec.symbol for spec in together}
    frames = {symbol: kernel.frame for symbol, kernel in found.items() if symbol != "rope_table"}
    assert max(frames.values()) <= SPILL, sorted(frames.items(), key=lambda frame: -frame[1])[:5]
    assert path.stat().st_size <= CODE_BYTES


@needs_nvrtc
def test_no_text_goes_through_nvrtc_twice(shared: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = list(specs(shared / "models" / "open" / "mamba2" / "model.gguf"))
    devices = [DEVICES["cuda:sm_80"], DEVICES["cuda:sm_90a"]]
    first = build.build(kernels, devices[:1])
    ran: list[build.Job] = []
    run = build._run
    monkeypatch.setattr(build, "_run", lambda job: (ran.append(job), run(job)))
    both = build.build(kernels, devices)
    assert [job[1] for job in ran] == devices[1:] and both[:1] == first
    assert build.build(kernels[::-1], devices) == both and len(ran) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cuda:sm_90a", "rocm:gfx942"])
def test_every_open_model_builds(shared: Path, fresh_cache: Path, name: str) -> None:
    if error := build.missing(DEVICES[name].kind):
        pytest.skip(str(error))
    built: dict[tuple[str, ...], tuple[int, float]] = {}
    for source in sources(shared):
        key = tuple(sorted(spec.symbol for spec in specs(source)))
        if key in built:
            continue
        begun = time.monotonic()
        (path,) = build.build(specs(source), [DEVICES[name]])
        built[key] = path.stat().st_size, time.monotonic() - begun
        print(f"{name} {source.parent.name}: {len(key)} kernels, {built[key][0]} bytes, {built[key][1]:.1f} s")
    assert max(size for size, _ in built.values()) <= CODE_BYTES
