"""Device functions to code: CUDA C++ text, OpenCL text, or an AMD code object. TVM is asked for its generators alone."""

from collections.abc import Sequence

import tvm
from tvm import tirx
from tvm.target import Target

from llmc.codegen.gpu import cuda_text, tables
from llmc.codegen.gpu.spec import GpuKernelSpec, TirSpec
from llmc.gpu import Device


def text(specs: Sequence[GpuKernelSpec], device: Device) -> str:
    """One source text with every kernel: CUDA C++ or OpenCL C."""
    ours = cuda_text.text(specs) if device.kind == "cuda" else ""
    tir = str(_build(specs, device).inspect_source()) if any(isinstance(spec, TirSpec) for spec in specs) else ""
    return tables.text(specs, device) + tir + ours


def module(specs: Sequence[GpuKernelSpec], device: Device) -> "tvm.runtime.Module":
    """The module TVM makes; for ROCm it holds the linked code object."""
    return _build(specs, device)


def _build(specs: Sequence[GpuKernelSpec], device: Device) -> "tvm.runtime.Module":
    target = _target(device)
    functions = {spec.symbol: spec.generate(device).with_attr("target", target) for spec in specs if isinstance(spec, TirSpec)}
    with target:
        lowered = tvm.ir.transform.Sequential(_passes())(tvm.IRModule(functions))
    return tvm.get_global_func(f"target.build.{device.kind}")(lowered, target)


def _target(device: Device) -> Target:
    where: dict[str, dict[str, str | int]] = {
        "cuda": {"arch": device.machine},
        "rocm": {"mcpu": device.arch, "max_num_threads": 256, "thread_warp_size": device.warp},
        "opencl": {},
    }
    return Target({"kind": device.kind, **where[device.kind]}, host={"kind": "llvm"})


def _passes() -> list["tvm.ir.transform.Pass"]:
    """A device function needs no scheduling and no splitting: what is left is the end of TVM's pipeline."""
    return [
        tirx.transform.FlattenBuffer(),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.LowerWarpMemory(),
        tirx.transform.LowerIntrin(),
    ]
