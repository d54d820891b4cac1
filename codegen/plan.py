"""What lowering makes of a graph: the calls of a step, the kernels they need, and the caches they keep."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmc.codegen.caches import Cache
from llmc.codegen.kernels.base import KernelSpec
from llmc.codegen.sections import Op, statements, syncs
from llmc.codegen.states import States
from llmc.codegen.weights import WeightFile


@dataclass
class Plan:
    """What the host template prints and the linker needs.

    caches     the groups of pages, by number; states: the group of states, the number after
    kernels    member of the kernel table -> its specs: one, or a row of variants
    constants  name -> f32 elements, printed exactly
    labels     what the ops are called in a profile, each once
    step_bytes bytes of weights that a step of one token reads; all experts count
    """

    weights: WeightFile
    caches: tuple[Cache, ...]
    states: States | None
    arena: int
    ops: list[Op] = field(default_factory=list)
    kernels: dict[str, tuple[KernelSpec, ...]] = field(default_factory=dict)
    constants: dict[str, list[float]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    step_bytes: int = 0

    @property
    def calls(self) -> int:
        """Kernel launches of one step."""
        return sum(len(op.calls) for op in self.ops)

    @property
    def statements(self) -> list[str]:
        """The step, in C."""
        return statements(self.ops)

    @property
    def syncs(self) -> int:
        """Barriers of a step of one token."""
        return syncs(self.ops)

    @property
    def specs(self) -> list[KernelSpec]:
        """Every kernel the plan calls, in the order of its first call."""
        return [spec for row in self.kernels.values() for spec in row]


class NoKernelError(ValueError):
    """An op without a kernel: the pass that removes it was left out (LLMC_PASSES), or the frontend made something new."""
