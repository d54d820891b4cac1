"""GPU kernels to machine code: one file for all kernels of a model on one device, through a cache keyed by content.

As for processors (codegen/build.py), TVM runs in a process of its own, one a device; nothing is built that is in the cache, so no
text goes through a device's compiler twice.
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmc import debug
from llmc.codegen.build import make_folder, sources, tvm_version
from llmc.codegen.gpu import cuda_text
from llmc.codegen.gpu.spec import CudaSpec, GpuKernelSpec
from llmc.errors import LlmcError, ToolchainError
from llmc.gpu import Device

Job = tuple[tuple[GpuKernelSpec, ...], Device, Path]


def build(specs: Sequence[GpuKernelSpec], devices: Sequence[Device]) -> list[Path]:
    """A cubin or code object with all of `specs` for each device, in order. Raises ToolchainError with the compiler's words.

    Models with the same kernels, in whatever order they launch them, have the same code.
    """
    specs, folder = sorted(specs, key=lambda spec: spec.symbol), debug.cache_dir() / "gpu"
    jobs = [_job(specs, device, folder) for device in devices]
    missing = [job for job in jobs if not job[2].exists()]
    if missing:
        make_folder(folder)
        with ThreadPoolExecutor(debug.jobs()) as pool:
            for _ in pool.map(_run, missing):
                pass
    return [path for _, _, path in jobs]


def _job(specs: Sequence[GpuKernelSpec], device: Device, folder: Path) -> Job:
    """Without kernels that the device cannot have."""
    possible = tuple(spec for spec in specs if device.kind == "cuda" or not isinstance(spec, CudaSpec))
    return possible, device, folder / f"{device.symbol}-{_key(possible, device)[:32]}.{device.suffix}"


def _key(specs: Sequence[GpuKernelSpec], device: Device) -> str:
    """SHA-256, hexadecimal, of everything the code depends on."""
    modules = sorted({type(spec).__module__ for spec in specs} | {"llmc.codegen.gpu.build_worker"})
    digest = hashlib.sha256()
    ours = cuda_text.text(specs) if device.kind == "cuda" else ""
    read = (s for m in modules for s in sources(m))
    for text in (tvm_version(), _compiler(device), repr(device), *map(repr, specs), ours, *read):
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def _compiler(device: Device) -> str:
    """Of the device's text. Raises ToolchainError where it is not installed."""
    if device.kind != "cuda":
        return "llvm"
    from llmc.codegen.gpu.nvrtc import nvrtc

    return f"nvrtc {nvrtc().version}"


def _run(job: Job) -> None:
    command = [sys.executable, "-P", "-m", "llmc.codegen.gpu.build_worker"]
    done = subprocess.run(command, input=pickle.dumps(job), capture_output=True)
    if done.returncode:
        raise ToolchainError(f"building code for {job[1].name} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")


def missing(kind: str) -> LlmcError | None:
    """Why this machine cannot build for a kind of device; None if it can."""
    if kind != "cuda":
        return None
    from llmc.codegen.gpu.nvrtc import nvrtc

    try:
        nvrtc()
    except ToolchainError as error:
        return error
    return None
