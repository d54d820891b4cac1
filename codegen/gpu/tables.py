"""Grids of formats whose codes are indices: a table of 32-bit words in the device code, and the function that reads it.

TIR has no constants of that size. CUDA and OpenCL get them as text before the kernels, AMD's code as LLVM IR linked into them.
"""

from collections.abc import Sequence

import numpy as np

from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.gpu import Device
from llmc.ir.quant import BlockFormat

_TEXT = {
    "cuda": """static __device__ const int llmc_words_{name}[] = {{{words}}};
static __device__ __forceinline__ int llmc_grid_{name}(int i) {{ return llmc_words_{name}[i]; }}
""",
    "opencl": """__constant int llmc_words_{name}[] = {{{words}}};
int llmc_grid_{name}(int i) {{ return llmc_words_{name}[i]; }}
""",
}
_IR = """
@llmc_words_{name} = private unnamed_addr addrspace(4) constant [{count} x i32] [{words}], align 64
define linkonce_odr hidden i32 @llmc_grid_{name}(i32 %i) alwaysinline {{
  %p = getelementptr inbounds [{count} x i32], ptr addrspace(4) @llmc_words_{name}, i32 0, i32 %i
  %v = load i32, ptr addrspace(4) %p, align 4
  ret i32 %v
}}
"""


def text(specs: Sequence[GpuKernelSpec], device: Device) -> str:
    """What has to stand before the kernels: the grids of all their formats. Nothing for AMD's code, which has no text."""
    form = _TEXT.get(device.kind, "")
    return "".join(form.format(name=fmt.name, words=", ".join(map(str, _words(fmt)))) for fmt in _formats(specs))


def ir(specs: Sequence[GpuKernelSpec]) -> str:
    """The same as LLVM IR, for AMD's code."""
    words = {fmt.name: [f"i32 {word}" for word in _words(fmt)] for fmt in _formats(specs)}
    return "".join(_IR.format(name=name, count=len(w), words=", ".join(w)) for name, w in words.items())


def _formats(specs: Sequence[GpuKernelSpec]) -> list[BlockFormat]:
    """Each format with a grid once, in the order of the specs."""
    return [*{fmt.name: fmt for spec in specs for fmt in _of(spec)}.values()]


def _of(spec: GpuKernelSpec) -> list[BlockFormat]:
    """The formats of a kernel that have a grid."""
    formats = getattr(spec, "formats", (getattr(spec, "format", None),))
    return [fmt for fmt in formats if isinstance(fmt, BlockFormat) and fmt.grid is not None]


def _words(fmt: BlockFormat) -> list[int]:
    assert fmt.grid is not None
    return [int(word) for word in np.ascontiguousarray(fmt.grid.table).view("<i4").reshape(-1)]
