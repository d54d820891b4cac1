"""What lowering makes of a graph: the calls of a step, the kernels they need, and the caches they keep."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmc.codegen.kernels.base import KernelSpec
from llmc.codegen.kernels.kv_append import layer_bytes
from llmc.codegen.sections import Op, statements, syncs
from llmc.codegen.states import States
from llmc.codegen.weights import WeightFile
from llmc.ir.graph import Graph

PAGED = {"kv_append": 2, "rope_kv_append": 2, "latent_append": 1}
"""Ops that append to the paged cache, and what they append for each head: a key and a value, or one vector for both."""


@dataclass(frozen=True)
class Cache:
    """Geometry of the paged cache: bytes of one layer of a page, of a page over all layers, and the stored type.

    layers: those that append to it; the others of a hybrid model have a state. parts: vectors of a head and position: a key and
    a value, or 1 where the value is the front of the key (latents)."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: str
    parts: int = 2

    @property
    def layer_bytes(self) -> int:
        return layer_bytes(self.kv_heads, self.head_dim, self.dtype, self.parts)

    @property
    def page_bytes(self) -> int:
        return self.layers * self.layer_bytes


@dataclass
class Plan:
    """What the host template prints and the linker needs.

    cache      the paged group, number 0 where there is one; states: the group of states, the number after
    kernels    member of the kernel table -> its specs: one, or a row of variants
    constants  name -> f32 elements, printed exactly
    labels     what the ops are called in a profile, each once
    step_bytes bytes of weights that a step of one token reads; all experts count
    """

    weights: WeightFile
    cache: Cache | None
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


def cache_of(graph: Graph) -> Cache | None:
    """All layers of this version that have keys and values share one paged group; they must agree on their geometry."""
    appends = [node for node in graph.nodes if node.op in PAGED]
    kinds = {(n.attrs["kv_heads"], n.attrs["head_dim"], n.attrs["dtype"], PAGED[n.op]) for n in appends}
    if not kinds:
        return None
    if len(kinds) != 1:
        raise NoKernelError(f"layers with different key/value geometry: {sorted(kinds)}")
    ((kv_heads, head_dim, dtype, parts),) = kinds
    return Cache(len({node.attrs["layer"] for node in appends}), kv_heads, head_dim, dtype, parts)
