"""`compiled`: a kernel as a Python function, on any level this machine runs.

Kernels are built through the cache of codegen/build.py. The specs that parametrise collected tests (an argument `spec`, or
several in `specs`, and a level `isa`) are built together on first use, so that a test run pays for TVM once per level.
"""

import ctypes
import fcntl
import mmap
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.build import build_objects
from llmc.codegen.kernels.base import KernelSpec, Param, exported
from llmc.target import ISAS, Isa, cpu_flags

_C = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "float": ctypes.c_float}
_NUMPY = {"uint8_t": "u1", "int8_t": "i1", "uint16_t": "u2", "int32_t": "i4", "int64_t": "i8", "float": "f4"}

Kernel = Callable[..., None]


class Kernels:
    """Built kernels, one shared library per level and batch of specs."""

    def __init__(self, folder: Path, wanted: Iterable[tuple[KernelSpec, Isa]]) -> None:
        """`folder` lies beside those of other processes of a test run: one builds at a time, the others find what it built."""
        self.folder = folder
        self.wanted = list(wanted)
        self.ready: dict[tuple[KernelSpec, str], Kernel] = {}

    def __call__(self, spec: KernelSpec, isa: Isa) -> Kernel:
        """The kernel; arrays are passed as pointers and checked for their element type, None as NULL."""
        if not cpu_flags().issuperset(isa.flags):
            pytest.skip(f"this processor does not run {isa.name}")
        if (spec, isa.name) not in self.ready:
            together = {s.symbol: s for s, level in self.wanted if level == isa}
            self._build([*({**together, spec.symbol: spec}).values()], isa)
        return self.ready[spec, isa.name]

    def _build(self, specs: list[KernelSpec], isa: Isa) -> None:
        new = [s for s in specs if (s, isa.name) not in self.ready]
        library = self.folder / f"{isa.name}-{len(self.ready)}.so"
        with (self.folder.parents[1] / "kernels.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            objects = build_objects(new, isa)
        subprocess.run(["gcc", "-shared", "-o", library, *objects], check=True)
        loaded = ctypes.CDLL(str(library))
        for spec in new:
            self.ready[spec, isa.name] = _callable(spec, getattr(loaded, exported(spec, isa)))


def _callable(spec: KernelSpec, function: Any) -> Kernel:
    def call(*arguments: Any) -> None:
        assert len(arguments) == len(spec.params)
        function(*(_argument(p, a) for p, a in zip(spec.params, arguments, strict=True)))

    return call


def _argument(param: Param, value: Any) -> Any:
    if not param.is_pointer:
        return _C[param.element](value)
    if value is None:
        return ctypes.c_void_p()
    assert value.dtype == np.dtype(_NUMPY[param.element]) and value.flags.c_contiguous, f"{param}: {value.dtype}"
    return ctypes.c_void_p(value.ctypes.data)


def _specs(item: pytest.Item) -> Iterator[tuple[KernelSpec, Isa]]:
    """The kernels a collected test asks for by its parameters."""
    values = getattr(item, "callspec", None)
    given = dict(values.params) if values else {}
    if isinstance(given.get("isa"), Isa):
        for spec in [given.get("spec"), *given.get("specs", ())]:
            if isinstance(spec, KernelSpec):
                yield spec, given["isa"]


@pytest.fixture(scope="session")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("kernels"), (pair for item in request.session.items for pair in _specs(item)))


@pytest.fixture(params=[*ISAS.values()], ids=lambda isa: isa.name)
def isa(request: pytest.FixtureRequest) -> Isa:
    """Every level; tests that only run some parametrise `isa` themselves."""
    level: Isa = request.param
    return level


@pytest.fixture
def guarded() -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Copies an array so that the byte after its last one cannot be read or written: a kernel that tries kills the test run."""
    return _guarded


def _guarded(array: NDArray[Any]) -> NDArray[Any]:
    pages = -(-array.nbytes // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    whole = np.frombuffer(memory, np.uint8)
    fence = ctypes.c_void_p(whole.ctypes.data + pages * mmap.PAGESIZE)
    if ctypes.CDLL(None, use_errno=True).mprotect(fence, ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    end = pages * mmap.PAGESIZE
    copy = whole[end - array.nbytes : end].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
