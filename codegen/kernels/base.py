"""What every kernel spec is. Specs are plain values: naming one, hashing one or running its reference never imports TVM.

A spec is a frozen dataclass. Its fields decide the C symbol, the cache key and the test id. The file that declares it holds the
numpy reference; `generate` imports the file that writes the TIR.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from llmc.target import ISAS, Isa

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc


@dataclass(frozen=True)
class Param:
    """One C parameter: Param("const uint8_t *", "w"). Pointers end in `*`; other types are int32_t, int64_t and float."""

    ctype: str
    name: str

    @property
    def is_pointer(self) -> bool:
        return self.ctype.endswith("*")

    @property
    def element(self) -> str:
        """The C type without const and star: `uint8_t`."""
        return self.ctype.removeprefix("const ").rstrip(" *")

    def __str__(self) -> str:
        return f"{self.ctype}{self.name}" if self.is_pointer else f"{self.ctype} {self.name}"


def params(prototype: str) -> tuple[Param, ...]:
    """Reads parameters as C writes them: "const uint8_t *w, float *y, int32_t k"."""
    found = []
    for text in prototype.split(","):
        before, star, name = text.strip().rpartition("*")
        ctype, name = (before + star, name) if star else text.strip().rsplit(maxsplit=1)
        found.append(Param(ctype, name))
    return tuple(found)


@runtime_checkable
class KernelSpec(Protocol):
    """A kernel the build can make for any instruction-set level."""

    @property
    def symbol(self) -> str:
        """C identifier made of the fields, without the level: linear_q4_k_q8_p16."""
        ...

    @property
    def params(self) -> tuple[Param, ...]:
        """Parameters in order; the kernel returns nothing."""
        ...

    def generate(self, isa: Isa) -> "PrimFunc":
        """The kernel for one level, with `exported(self, isa)` as its symbol."""
        ...


def serving(spec: KernelSpec, isa: Isa) -> Isa:
    """The level whose object is the kernel for `isa`: one without matrix tiles is that of the level below."""
    return isa if isa.below is None or getattr(spec, "tiles", False) else ISAS[isa.below]


def exported(spec: KernelSpec, isa: Isa) -> str:
    """The symbol in the object: llmc_avx512_vnni_linear_q4_k_q8_p16."""
    return f"llmc_{serving(spec, isa).symbol}_{spec.symbol}"


def prototype(spec: KernelSpec, isa: Isa) -> str:
    """The C declaration of the kernel for one level."""
    return f"void {exported(spec, isa)}({', '.join(map(str, spec.params))});"
