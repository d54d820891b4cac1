"""AMD code objects with no ROCm installed: TVM's LLVM writes the object, the LLD of ziglang links it.

Two of TVM's callbacks are ours: the list of device bitcode holds a module flag (code object V5, which every ROCm since 5.5 loads;
LLVM 22 alone would write V6) and the grids of formats that have one, and linking runs `python -m ziglang ld.lld`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tvm_ffi

from llmc.codegen.gpu import source, tables
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.errors import ToolchainError
from llmc.gpu import Device

_CODE_OBJECT_V5 = '!llvm.module.flags = !{!0}\n!0 = !{i32 1, !"amdhsa_code_object_version", i32 500}\n'


def code_object(specs: Sequence[GpuKernelSpec], device: Device) -> bytes:
    """An ELF code object that holds every kernel. Raises ToolchainError with the linker's words."""
    linked: list[bytes] = []

    def link(data: bytes) -> bytes:
        linked.append(_link(bytes(data)))
        return linked[-1]

    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder) / "version.ll"
        version.write_text(_CODE_OBJECT_V5)
        grids = Path(folder) / "grids.ll"
        grids.write_text(tables.ir(specs))
        tvm_ffi.register_global_func("tvm_callback_rocm_link", link, override=True)
        tvm_ffi.register_global_func("tvm_callback_rocm_bitcode_path", lambda: [str(version), str(grids)], override=True)
        source.module(specs, device)
    return linked[0]


def _link(data: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        object_file, out = Path(folder) / "kernels.o", Path(folder) / "kernels.hsaco"
        object_file.write_bytes(data)
        command = [sys.executable, "-m", "ziglang", "ld.lld", "--no-undefined", "-shared", str(object_file), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ToolchainError(f"linking AMD code failed: {done.stderr[-2000:]}", hint="pip install ziglang==0.17.1")
        return out.read_bytes()
