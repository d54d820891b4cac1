"""CUDA C++ text to cubins with NVRTC, through ctypes: no host compiler, no driver, no CUDA toolkit.

The library and the headers come from the wheels of the extra `llmc[cuda]` (nvidia-cuda-nvrtc-cu12, nvidia-cuda-runtime-cu12,
nvidia-cuda-cccl-cu12), 12.9: its cubins load with drivers from r525 on, those of 13.x need r580.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llmc.errors import ToolchainError

INSTALL = "pip install 'llmc[cuda]'"
OPTIONS = ("-default-device", "--device-int128", "--std=c++17")

# NVRTC has neither <cstdint> nor <cuda.h>; TVM's text uses the C names of some widths.
_PROLOGUE = "".join(
    f"typedef {c} {name};\n"
    for name, c in (
        ("int8_t", "signed char"), ("uint8_t", "unsigned char"), ("int16_t", "short"), ("uint16_t", "unsigned short"),
        ("int32_t", "int"), ("uint32_t", "unsigned int"), ("int64_t", "long long"), ("uint64_t", "unsigned long long"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class Nvrtc:
    """A loaded libnvrtc and the folders of its headers."""

    library: ctypes.CDLL
    include: tuple[Path, ...]

    @property
    def version(self) -> str:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.check(self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
        return f"{major.value}.{minor.value}"

    def code(self, source: str, arch: str) -> bytes:
        """A cubin of `source` for an architecture, or for compute_MN PTX that ends with a 0.

        Raises ToolchainError with the compiler's words.
        """
        program = ctypes.c_void_p()
        text = _PROLOGUE + "\n".join(line for line in source.splitlines() if line.strip() != "#include <cuda.h>")
        create = self.library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
        self.check(create, "nvrtcCreateProgram")
        try:
            options = [f"--gpu-architecture={arch}", *OPTIONS, *(f"-I{folder}" for folder in self.include)]
            array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            if self.library.nvrtcCompileProgram(program, len(options), array):
                log = self.read(program, "ProgramLog").decode(errors="replace").rstrip("\0\n")
                raise ToolchainError(f"NVRTC {self.version} cannot compile for {arch}: {log[-2000:]}")
            return self.read(program, "PTX" if arch.startswith("compute_") else "CUBIN")
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def read(self, program: ctypes.c_void_p, what: str) -> bytes:
        """A result of a program that NVRTC gives in two calls: its size, then its bytes."""
        size = ctypes.c_size_t()
        self.check(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), f"nvrtcGet{what}Size")
        data = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.library, f"nvrtcGet{what}")(program, data), f"nvrtcGet{what}")
        return data.raw[: size.value]

    def check(self, status: int, call: str) -> None:
        if status:
            self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise ToolchainError(f"{call}: {self.library.nvrtcGetErrorString(status).decode()}")


@cache
def nvrtc() -> Nvrtc:
    """NVRTC from the installed wheels. Raises ToolchainError saying what to install."""
    package = find_spec("nvidia")
    folders = [Path(folder) for folder in (package.submodule_search_locations or ())] if package else []
    libraries = [p for f in folders for p in sorted((f / "cuda_nvrtc" / "lib").glob("libnvrtc.so.*"))]
    include = tuple(p for f in folders for p in (f / "cuda_runtime" / "include", f / "cuda_cccl" / "include") if p.is_dir())
    if not libraries or not include:
        raise _nothing()
    return Nvrtc(ctypes.CDLL(str(libraries[0])), include)


def _nothing() -> ToolchainError:
    return ToolchainError("CUDA code needs NVIDIA's run-time compiler, which is not installed", hint=INSTALL)
