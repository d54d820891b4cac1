"""The fake drivers (fake_cuda.c, fake_hip.c) as Python objects, and a launcher for kernels: on PoCL, or as C++.

The runtime opens libcuda.so.1 or libamdhip64.so by name. A library of that name which the process has already loaded is what it
gets, so loading the fake one first is all it takes.
"""

import ctypes
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmc.codegen.gpu.spec import CudaSpec, GpuKernelSpec

_C = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "float": ctypes.c_float}
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint] * 4, ctypes.POINTER(ctypes.c_void_p))
_SOURCES = {"libcuda.so.1": "fake_cuda.c", "libamdhip64.so": "fake_hip.c"}


def build(library: str, folder: Path, *, without: str = "") -> Path:
    """Compiles a fake driver. without: a function that it lacks, as an old one does."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent / _SOURCES[library]
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"]
    hide = [f"-D{without}=older_{without}"] if without else []
    subprocess.run(["gcc", *flags, f"-Wl,-soname,{library}", *hide, "-o", folder / library, source], check=True)
    return folder / library


class FakeDriver:
    """Counts and checks launches; `kernels` says which there are, `execute` whether they run, or how the names of those begin."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        self.library.fake_extent.restype = self.library.fake_used.restype = ctypes.c_size_t
        self.library.fake_downloaded.restype = ctypes.c_size_t
        self.library.fake_extent.argtypes = [ctypes.c_uint64]
        self.callback = _CALLBACK(self._launched)
        self.reset([])

    def reset(self, specs: list[GpuKernelSpec], *, execute: bool | str = False, sm: int = 80, memory: int = 1 << 33) -> None:
        self.kernels, self.execute = {spec.symbol: spec for spec in specs}, execute
        self.launched: list[str] = []
        self.wrong: list[str] = []
        self.library.fake_reset(self.callback, sm, ctypes.c_size_t(memory))
        for spec in specs:
            sizes = [8 if p.is_pointer else ctypes.sizeof(_C[p.ctype]) for p in spec.params]
            self.library.fake_kernel(spec.symbol.encode(), len(sizes), (ctypes.c_int * len(sizes))(*sizes))

    def fail(self, call: int, code: int, name: str | None = None) -> None:
        """Call number `call` from now on, of all or of those of one name, fails with `code`; 0: none."""
        self.library.fake_fail(call, code, name.encode() if name else None)

    @property
    def failed(self) -> bool:
        """Whether the call that was to fail has been made."""
        return bool(self.library.fake_failed())

    def count(self, what: str) -> int:
        """launches, uploads, downloads, replays, recordings since the last reset; or objects: streams, events... now alive."""
        return int(self.library.fake_count(what.encode()))

    @property
    def downloaded(self) -> int:
        """Bytes copied to the host since the last reset."""
        return int(self.library.fake_downloaded())

    @property
    def used(self) -> int:
        """Bytes of device memory that are not given back."""
        return int(self.library.fake_used())

    def _launched(self, name: bytes, x: int, y: int, z: int, threads: int, arguments: "ctypes._Pointer[ctypes.c_void_p]") -> int:
        try:
            self._check(self.kernels[name.decode()], (x, y, z), threads, arguments)
            self.launched.append(name.decode())
        except Exception:
            self.wrong.append(traceback.format_exc())
            return 1
        return 0

    def _check(
        self, spec: GpuKernelSpec, grid: tuple[int, int, int], threads: int, arguments: "ctypes._Pointer[ctypes.c_void_p]"
    ) -> None:
        """Every pointer lies in device memory, or is NULL; the grid is what the spec says of these arguments."""
        kinds = [ctypes.c_uint64 if p.is_pointer else _C[p.ctype] for p in spec.params]
        values = [kind.from_address(arguments[i] or 0).value for i, kind in enumerate(kinds)]
        named = {p.name: value for p, value in zip(spec.params, values, strict=True)}
        assert threads == spec.launch.threads
        assert grid == tuple(eval(text.replace("/", "//"), {}, named) for text in spec.launch.grid), named  # noqa: S307
        for p, value in zip(spec.params, values, strict=True):
            assert not p.is_pointer or value == 0 or self.library.fake_extent(value), f"{spec.symbol}: {p.name} = {value:#x}"
        if self.execute is True or (self.execute and spec.symbol.startswith(self.execute)):
            from tests.codegen.gpu import emulation, opencl

            if isinstance(spec, CudaSpec):
                emulation.launch(emulation.ours([*self.kernels.values()]), spec, grid, values)
            else:
                opencl.launch(spec, grid, values)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDriver]:
    yield FakeDriver(build("libcuda.so.1", tmp_path_factory.mktemp("cuda")))


@pytest.fixture(scope="session")
def hip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDriver]:
    yield FakeDriver(build("libamdhip64.so", tmp_path_factory.mktemp("hip")))
