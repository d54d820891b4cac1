"""What llmc can compile for: instruction-set levels and the names a user gives to targets.

Codegen, the plan and the runtime's dispatch all read the one table below, so a level has the same lanes, the same compiler
flags and the same place in the order everywhere. `cpu` is a portable artifact that holds every level and chooses by cpuid when
it is opened; `cpu:avx2` holds that level alone, `cpu:avx2+avx512-vnni` two of them; `cpu:native` is replaced by the name of the
best level of this machine, so that an artifact never records the word `native`.
"""

import ctypes
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmc import gpu
from llmc.errors import ToolchainError, UsageError
from llmc.gpu import Device


@dataclass(frozen=True)
class Isa:
    """One instruction-set level of x86-64.

    name      as in target names and manifests; `symbol` is the same as part of a C identifier
    lanes     f32 values in one vector register
    mcpu      LLVM's name of a processor whose features this level may use
    flags     what /proc/cpuinfo must list, all of them; the runtime asks cpuid and XCR0 for the same
    dot       how u8 x i8 products are summed: "pmaddubsw" (16-bit pairs, they saturate) or "vnni" (one instruction, exact)
    fma       whether a multiply-add rounds once; without it nothing may be contracted
    tiles     whether matrix tiles (AMX) multiply bytes; Linux must permit them to the process, or the level below is taken
    below     the level whose objects serve where no tiles are used: the same code would come out
    """

    name: str
    lanes: int
    mcpu: str
    flags: tuple[str, ...]
    dot: str
    fma: bool
    tiles: bool = False
    below: str | None = None

    @property
    def symbol(self) -> str:
        """The name inside C identifiers: avx512-vnni becomes avx512_vnni."""
        return self.name.replace("-", "_")


_V2 = ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
_V4 = (
    *_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni", "avx512vbmi", "avx512_vbmi2",
    "avx512ifma", "avx512_bitalg", "avx512_vpopcntdq", "gfni", "vaes", "vpclmulqdq",
)  # fmt: skip

# Ascending: each level may run what the ones before it run, and a portable artifact takes the last one the machine has.
ISAS: dict[str, Isa] = {
    isa.name: isa
    for isa in (
        Isa("x86-64-v2", 4, "x86-64-v2", _V2, "pmaddubsw", fma=False),
        Isa("avx2", 8, "x86-64-v3", _V3, "pmaddubsw", fma=True),
        Isa("avx-vnni", 8, "alderlake", (*_V3, "avx_vnni", "gfni", "vaes", "vpclmulqdq"), "vnni", fma=True),
        Isa("avx512-vnni", 16, "icelake-server", _V4, "vnni", fma=True),
        Isa(
            "avx512-amx", 16, "icelake-server", (*_V4, "amx_tile", "amx_int8"), "vnni", fma=True,
            tiles=True, below="avx512-vnni",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A resolved target: `name` as it is recorded in the manifest, `isas` ascending, `devices` in the order of gpu.EVERY.

    One of both may be empty."""

    name: str
    isas: tuple[Isa, ...]
    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        order = [*ISAS.values()]
        assert self.isas or self.devices, self
        assert [*self.isas] == sorted(set(self.isas), key=order.index), self


def names() -> list[str]:
    """Every target name `parse` accepts, as `llmc targets` lists them."""
    return ["cpu", "cpu:native", *(f"cpu:{isa}" for isa in ISAS), "cuda", "rocm", *gpu.DEVICES]


def listing() -> dict[str, Any]:
    """What `llmc targets` prints: every name with a sentence, and the levels this machine runs."""
    have = cpu_flags()
    about = {"cpu": "portable: every level below, the best one the machine runs is chosen when the artifact is opened"}
    try:
        about["cpu:native"] = f"this machine's best level: {native(have).name}"
    except ToolchainError as error:
        about["cpu:native"] = error.message
    for isa in ISAS.values():
        here = "runs here" if have.issuperset(isa.flags) else "does not run here"
        about[f"cpu:{isa.name}"] = f"{isa.lanes} lanes of f32, code for {isa.mcpu}; {here}"
    for kind in ("cuda", "rocm"):
        about[kind] = f"every {kind} architecture below, one file of machine code each; no GPU is needed to compile"
    about["cuda"] += "; +ptx after one adds text that drivers compile for later devices"
    about.update((device.name, f"code for {device.arch}, launched through the driver alone") for device in gpu.DEVICES.values())
    runs = [isa.name for isa in ISAS.values() if have.issuperset(isa.flags)]
    return {"targets": [{"name": name, "about": about[name]} for name in names()], "runs_here": runs}


def parse(name: str, flags: Iterable[str] | None = None) -> Target:
    """The target called `name`. `flags` are the processor's features for cpu:native; None reads this machine's.

    Raises UsageError for an unknown name, ToolchainError for a GPU too old for llmc.
    """
    kind, _, detail = name.partition(":")
    if kind in ("cuda", "rocm"):
        return _union((), gpu.parse(name))
    if name == "cpu":
        return _union(ISAS)
    if name == "cpu:native":
        detail = native(flags).name
    levels = detail.split("+")
    if kind != "cpu" or not ISAS.keys() >= set(levels):
        raise UsageError(f"unknown target {name!r}", hint="known targets: " + ", ".join(names()))
    return _union(levels)


def parse_all(targets: Sequence[str], flags: Iterable[str] | None = None) -> Target:
    """The union of several targets, for an artifact that is to hold chosen levels only. Raises as `parse`."""
    if not targets:
        raise UsageError("no target given", hint="known targets: " + ", ".join(names()))
    found = [parse(name, flags) for name in targets]
    return _union([isa.name for one in found for isa in one.isas], [device for one in found for device in one.devices])


def _union(levels: Iterable[str], devices: Iterable[Device] = ()) -> Target:
    """The levels called so and the devices, each once and in the tables' order. All levels are `cpu`, all of a kind `cuda`."""
    wanted, given = set(levels), set(devices)
    isas = tuple(isa for isa in ISAS.values() if isa.name in wanted)
    chosen = tuple(device for device in gpu.EVERY if device in given)
    names = [] if not isas else ["cpu"] if len(isas) == len(ISAS) else ["cpu:" + "+".join(isa.name for isa in isas)]
    return Target(" ".join(names + gpu.target_names(chosen)), isas, chosen)


def native(flags: Iterable[str] | None = None) -> Isa:
    """The best level this machine runs. Raises ToolchainError where it runs none, naming what the lowest one lacks."""
    have = set(cpu_flags() if flags is None else flags)
    runs = [isa for isa in ISAS.values() if have.issuperset(isa.flags)]
    if not runs:
        lowest = next(iter(ISAS.values()))
        missing = ", ".join(sorted(set(lowest.flags) - have))
        raise ToolchainError(f"this processor runs no level of llmc: {lowest.name} needs {missing}", hint="name one: cpu:avx2")
    return runs[-1]


def cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The feature words of this machine's first processor; none where it is no x86-64 or the file is missing."""
    if platform.machine() not in ("x86_64", "AMD64") or not path.exists():
        return frozenset()
    line = re.search(r"^flags\s*:(.*)$", path.read_text(), re.MULTILINE)
    words = frozenset(line[1].split()) if line else frozenset()
    return words if "amx_tile" not in words or _tiles_permitted() else words - {"amx_tile", "amx_int8"}


@cache
def _tiles_permitted() -> bool:
    """Asks Linux for the use of matrix tiles in this process, as the runtime does in its own (runtime/src/cpu.c)."""
    arch_prctl, req_xcomp_perm, xtiledata = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, req_xcomp_perm, xtiledata) == 0)

