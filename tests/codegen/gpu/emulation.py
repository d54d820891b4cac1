"""Runs the kernels of templates/cuda on a processor: the same C++ text, compiled by ziglang's clang against emulation.h.

What this checks is mathematics, indexing, fragments, and most missing waits and barriers. It does not check NVRTC, the text of
ptx.cuh's instructions, or speed.
"""

import ctypes
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmc import debug
from llmc.codegen.gpu import cuda_text, tables
from llmc.codegen.gpu.spec import CudaSpec, GpuKernelSpec
from llmc.gpu import DEVICES

HEADER = Path(__file__).parent / "emulation.h"
FLAGS = ["-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-shared", "-fPIC", "-Wno-parentheses", "-g0", "-s"]


@cache
def library(specs: tuple[CudaSpec, ...]) -> ctypes.CDLL:
    """All of `specs` compiled together; kept between runs by content."""
    text = cuda_text.text(specs, HEADER.read_text())
    grids = tables.text(specs, DEVICES["cuda:sm_80"])
    source = "#include <stdint.h>\n#define __device__\n#define __forceinline__ inline\n" + grids + text
    source += "".join(map(_entry, specs))
    source += 'extern "C" void emulate_backwards(int on) { emulation::backwards = on; }\n'
    folder = debug.cache_dir() / "emulated"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256((source + repr(FLAGS)).encode()).hexdigest()[:32]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            text_file, out = Path(temporary) / "kernels.cc", Path(temporary) / "kernels.so"
            text_file.write_text(source)
            subprocess.run([sys.executable, "-m", "ziglang", "c++", *FLAGS, text_file, "-o", out], check=True)
            out.replace(path)
    return ctypes.CDLL(str(path))


def _entry(spec: CudaSpec) -> str:
    arguments = ", ".join(f"*({p.ctype} *)arguments[{i}]" for i, p in enumerate(spec.params))
    return (
        f'extern "C" void emulate_{spec.symbol}(unsigned x, unsigned y, unsigned z, unsigned threads, void **arguments) {{\n'
        f"  emulation::run(x, y, z, threads, [=] {{ {spec.symbol}({arguments}); }});\n}}\n"
    )


_C = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "float": ctypes.c_float}


def launch(among: Sequence[CudaSpec], spec: CudaSpec, grid: tuple[int, int, int], arguments: Sequence[int | float]) -> None:
    """Launches `spec`, which is one of `among`, on memory of this process: pointers are addresses."""
    cells = [
        ctypes.c_uint64(int(value)) if p.is_pointer else _C[p.ctype](value)  # type: ignore[arg-type]
        for p, value in zip(spec.params, arguments, strict=True)
    ]
    pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
    getattr(library(tuple(among)), f"emulate_{spec.symbol}")(*grid, spec.launch.threads, pointers)


def run(spec: CudaSpec, among: Sequence[CudaSpec] = (), **given: Any) -> dict[str, NDArray[Any]]:
    """Launches `spec` with arrays and numbers by parameter name; None is NULL. The arrays afterwards."""
    arrays, arguments, env = {}, [], {}
    for p in spec.params:
        value = given.pop(p.name)
        if not p.is_pointer:
            env[p.name] = value
        elif value is not None:
            arrays[p.name] = _aligned(value)
            value = arrays[p.name].ctypes.data
        arguments.append(value or 0)
    assert not given, f"{spec.symbol} has no parameters {sorted(given)}"
    x, y, z = (int(eval(text.replace("/", "//"), {}, env)) for text in spec.launch.grid)  # noqa: S307
    launch(among or [spec], spec, (x, y, z), arguments)
    return arrays


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins at a multiple of 256 bytes, as device memory does, and ends where the process may not read on."""
    array = np.ascontiguousarray(array)
    room = np.empty(array.nbytes + 256, np.uint8)
    start = -room.ctypes.data % 256
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def ours(specs: Sequence[GpuKernelSpec]) -> list[CudaSpec]:
    return [spec for spec in specs if isinstance(spec, CudaSpec)]
