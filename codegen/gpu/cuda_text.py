"""Kernels that are CUDA C++ of our own (templates/cuda), where matrix units need instructions that TIR has no words for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from llmc.codegen.gpu import cuda_format
from llmc.codegen.gpu.spec import CudaSpec, GpuKernelSpec
from llmc.ir.quant import Format

INSTRUCTIONS = "ptx.cuh"


def text(specs: Sequence[GpuKernelSpec], instructions: str | None = None) -> str:
    """C++ with every kernel of `specs` that is a CudaSpec; nothing where there is none. Grids (tables.py) stand before it.

    instructions: replaces ptx.cuh, whose functions a test may define for a processor.
    """
    ours = [spec for spec in specs if isinstance(spec, CudaSpec)]
    if not ours:
        return ""
    formats: dict[str, Format] = {spec.weights.name: spec.weights for spec in ours if spec.weights is not None}
    headers = dict.fromkeys(name for spec in ours for name in spec.headers)
    return "".join([
        read(INSTRUCTIONS) if instructions is None else instructions,
        *([read("unpack.cuh")] if formats else []),
        *map(cuda_format.text, formats.values()),
        *map(read, headers),
        *map(_kernel, ours),
    ])  # fmt: skip


def read(name: str) -> str:
    """A file of templates/cuda."""
    text = (files("llmc.templates") / "cuda" / name).read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() != "#pragma once")


def _kernel(spec: CudaSpec) -> str:
    parameters = ", ".join(map(str, spec.params))
    bounds = f"__launch_bounds__({spec.launch.threads}, {spec.blocks_per_processor})"
    return f'extern "C" __global__ void {bounds} {spec.symbol}({parameters}) {{\n  {spec.call}\n}}\n'
