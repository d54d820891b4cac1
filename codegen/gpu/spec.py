"""What every GPU kernel spec is. Like a CPU spec (codegen/kernels/base.py), with the shape of a launch in place of a range.

A spec is a frozen dataclass whose fields decide the symbol and the cache key. The grid is written in C over the kernel's own
parameters, so that the host plan can print it: `("n_tokens", "kv_heads", "1")`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from llmc.codegen.kernels.base import Param
from llmc.ir.quant import Format

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device


@dataclass(frozen=True)
class Launch:
    """Thread blocks in x, y, z as C expressions of int32 parameters, and threads of a block (along x)."""

    grid: tuple[str, str, str]
    threads: int

    def __post_init__(self) -> None:
        assert 32 <= self.threads <= 256 and self.threads % 32 == 0, self  # ROCm without a device at hand allows 256


class GpuKernelSpec(Protocol):
    """A kernel as the host plan knows it."""

    @property
    def symbol(self) -> str:
        """C identifier made of the fields."""
        ...

    @property
    def params(self) -> tuple[Param, ...]:
        """Parameters in order; pointers are device addresses."""
        ...

    @property
    def launch(self) -> Launch: ...


@runtime_checkable
class TirSpec(GpuKernelSpec, Protocol):
    """A kernel the build can make for any GPU architecture."""

    def generate(self, device: "Device") -> "PrimFunc":
        """What one thread does, as a device function for `device`."""
        ...


class CudaSpec(ABC):
    """A kernel that is CUDA C++ of ours, for CUDA devices alone: a template of templates/cuda and how it is called.

    headers              files of templates/cuda that hold it, in order
    weights              the format of those it reads, of which the text needs a description
    blocks_per_processor thread blocks that registers must leave room for
    """

    headers: ClassVar[tuple[str, ...]]

    @property
    def weights(self) -> Format | None:
        return None

    @property
    def blocks_per_processor(self) -> int:
        return 1

    @property
    @abstractmethod
    def symbol(self) -> str: ...

    @property
    @abstractmethod
    def params(self) -> tuple[Param, ...]: ...

    @property
    @abstractmethod
    def launch(self) -> Launch: ...

    @property
    @abstractmethod
    def call(self) -> str:
        """The C++ statement that is the body of the kernel."""
        ...


def arguments(spec: GpuKernelSpec) -> str:
    """The C parameters of the function that launches the kernel; device addresses are 64-bit numbers on the host."""
    return ", ".join(f"llmc_address {p.name}" if p.is_pointer else f"{p.ctype} {p.name}" for p in spec.params)
