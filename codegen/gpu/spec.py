"""What every GPU kernel spec is. Like a CPU spec (codegen/kernels/base.py), with the shape of a launch in place of a range.

A spec is a frozen dataclass whose fields decide the symbol and the cache key. The grid is written in C over the kernel's own
parameters, so that the host plan can print it: `("n_tokens", "kv_heads", "1")`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from llmc.codegen.kernels.base import Param

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


@runtime_checkable
class GpuKernelSpec(Protocol):
    """A kernel the build can make for any GPU architecture."""

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

    def generate(self, device: "Device") -> "PrimFunc":
        """What one thread does, as a device function for `device`."""
        ...


def arguments(spec: GpuKernelSpec) -> str:
    """The C parameters of the function that launches the kernel; device addresses are 64-bit numbers on the host."""
    return ", ".join(f"llmc_address {p.name}" if p.is_pointer else f"{p.ctype} {p.name}" for p in spec.params)
