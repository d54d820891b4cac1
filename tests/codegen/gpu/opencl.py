"""Runs GPU kernels on a processor: the same device functions as CUDA gets, printed as OpenCL C, executed by PoCL.

What this checks is the mathematics and the indexing. It does not check CUDA's or ROCm's generators, rounding to f16 (PoCL 3.0 has
no cl_khr_fp16, so halves are emulated in loads and stores), missing barriers, or speed.
"""

import ctypes
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.gpu import Device

cl = pytest.importorskip("pyopencl", reason="GPU kernels are checked on PoCL: pip install 'llmc[test]'")

DEVICE = Device("opencl", "pocl")

# Lanes are exchanged through shared memory and barriers, so every thread of a block has to reach a shuffle.
_PRELUDE = """
#define LANES 1024
float llmc_exchange(__local float *cells, float value, int mask) {
  int here = get_local_id(0);
  cells[here] = value;
  barrier(CLK_LOCAL_MEM_FENCE);
  float other = cells[here ^ mask];
  barrier(CLK_LOCAL_MEM_FENCE);
  return other;
}
#define llmc_shuffle_xor(value, mask) llmc_exchange(llmc_cells, value, mask)
"""


@cache
def _queue() -> Any:
    devices = [
        d
        for platform in cl.get_platforms()
        for d in platform.get_devices()
        if "pocl" in platform.name.lower() or "Portable" in platform.name
    ]
    if not devices:
        pytest.skip("no PoCL device")
    context = cl.Context([devices[0]])
    return cl.CommandQueue(context)


@cache
def program(spec: GpuKernelSpec) -> Any:
    from llmc.codegen.gpu import source

    return cl.Program(_queue().context, adapted(source.text([spec], DEVICE))).build(options=["-cl-std=CL1.2"])


def adapted(text: str) -> str:
    """TVM's OpenCL text for a device without halves and without sub-groups; its casts of pointers, which break C's rules of
    aliasing and are miscompiled in large kernels, as OpenCL's own words for that."""
    text = re.sub(r"\(\*\((\w+) \*\)\(&\((\w+)\)\)\)", r"as_\1(\2)", text)
    if "llmc_shuffle_xor" in text:
        text = _PRELUDE + re.sub(r"(__kernel void \w+\([^;{]*\)) \{", r"\1 {\n  __local float llmc_cells[LANES];", text)
    return text


def run(spec: GpuKernelSpec, **given: Any) -> dict[str, NDArray[Any]]:
    """Launches `spec` with arrays and numbers by parameter name; None is a pointer nothing looks at. The arrays afterwards."""
    queue = _queue()
    buffers, arguments, env = {}, [], {}
    for p in spec.params:
        value = given.pop(p.name)
        if p.is_pointer:
            host = np.zeros(16, np.uint8) if value is None else np.ascontiguousarray(value)
            buffers[p.name] = (
                host.copy(),
                cl.Buffer(queue.context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=host),
            )
            arguments.append(buffers[p.name][1])
        else:
            env[p.name] = value
            arguments.append({"int32_t": np.int32, "int64_t": np.int64, "float": np.float32}[p.ctype](value))
    assert not given, f"{spec.symbol} has no parameters {sorted(given)}"
    threads = spec.launch.threads
    x, y, z = (int(eval(text.replace("/", "//"), {}, env)) for text in spec.launch.grid)  # noqa: S307
    kernel = cl.Kernel(program(spec), spec.symbol)
    kernel(queue, (x * threads, y, z), (threads, 1, 1), *arguments)
    for host, buffer in buffers.values():
        cl.enqueue_copy(queue, host, buffer)
    queue.finish()
    return {name: host for name, (host, _) in buffers.items()}


def launch(spec: GpuKernelSpec, grid: tuple[int, int, int], arguments: list[int | float]) -> None:
    """Launches `spec` on memory of this process: pointers are addresses."""
    queue = _queue()
    kernel = cl.Kernel(program(spec), spec.symbol)
    for i, (p, value) in enumerate(zip(spec.params, arguments, strict=True)):
        if p.is_pointer:
            kernel.set_arg(i, cl.SVM(_memory(int(value)) if value else _NOTHING))
        else:
            kernel.set_arg(i, {"int32_t": np.int32, "int64_t": np.int64, "float": np.float32}[p.ctype](value))
    threads = spec.launch.threads
    cl.enqueue_nd_range_kernel(queue, kernel, (grid[0] * threads, *grid[1:]), (threads, 1, 1))
    queue.finish()


_NOTHING = np.zeros(64, np.uint8)


def _memory(address: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * 64).from_address(address))
