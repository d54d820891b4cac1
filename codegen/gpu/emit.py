"""GPU plan to C: fills templates/gpu.c.j2, the part of a generated model that launches kernels."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import jinja2

from llmc.codegen.gpu.lower import MAX_BLOCKS, GpuPlan
from llmc.codegen.gpu.spec import GpuKernelSpec, arguments
from llmc.gpu import Device


@dataclass(frozen=True)
class Code:
    """Machine code for one device: a file of the artifact."""

    device: Device
    file: str
    size: int


def emit(plan: GpuPlan, codes: list[Code]) -> str:
    """The C text: one launching function a kernel, the step, the table of codes."""
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(
        (files("llmc.templates") / "gpu.c.j2").read_text(encoding="utf-8")
    )
    return template.render(
        kernels=[_kernel(spec) for spec in plan.specs],
        common=plan.common,
        statements=plan.statements,
        picks=plan.picks,
        pick_parts=plan.pick_parts,
        max_blocks=MAX_BLOCKS,
        codes=[{"driver": c.device.kind, "arch": c.device.arch, "file": c.file, "size": c.size} for c in codes],
        constants=", ".join(map(str, plan.constants)) or "0",
        constants_bytes=len(plan.constants),
        max_step_tokens=plan.step_tokens,
        arena=plan.arena,
    )


def _kernel(spec: GpuKernelSpec) -> dict[str, str | int]:
    return {
        "symbol": spec.symbol,
        "arguments": arguments(spec),
        "addresses": ", ".join(f"&{p.name}" for p in spec.params),
        "grid": ", ".join(spec.launch.grid),
        "threads": spec.launch.threads,
    }
