"""What llmc can compile for besides processors: GPU architectures, and what the code generators must know of each.

`cuda:sm_90a` names one architecture, `cuda:sm_80,sm_90a` several, `cuda` alone all of the table. A machine runs the code of its
own architecture: cubins of one major version run on later minor versions of it (sm_86 runs sm_80), never across majors.
`cuda:sm_90a+ptx` adds PTX for 9.0, which the driver (of CUDA 12.9 or later) compiles for devices that no cubin is for.
"""

from dataclasses import dataclass
from typing import Literal

from llmc.errors import ToolchainError, UsageError

Kind = Literal["cuda", "rocm", "opencl"]


@dataclass(frozen=True)
class Device:
    """One architecture.

    kind    "cuda" and "rocm" are targets; "opencl" exists for tests, which run the same kernels on a processor
    arch    as the vendor names it: sm_90a, gfx942; compute_90 is PTX
    warp    threads that execute together
    shared  bytes of shared memory a thread block may use without asking
    """

    kind: Kind
    arch: str
    warp: int = 32
    shared: int = 48 << 10

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.arch}"

    @property
    def machine(self) -> str:
        """The architecture whose instructions code may be made of."""
        return self.arch.replace("compute_", "sm_")

    @property
    def suffix(self) -> str:
        """Of a file with code for it."""
        return "hsaco" if self.kind == "rocm" else "ptx" if self.arch.startswith("compute_") else "cubin"

    @property
    def symbol(self) -> str:
        """The name inside C identifiers and file names."""
        return f"{self.kind}_{self.arch}"


CUDA_MINIMUM = 80
DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        *(Device("cuda", arch) for arch in ("sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_120")),
        *(Device("rocm", arch, warp=64, shared=64 << 10) for arch in ("gfx90a", "gfx942")),
        Device("rocm", "gfx1100", warp=32, shared=64 << 10),
    )
}
_PTX = "+ptx"
PTX: dict[str, Device] = {  # by the architecture it is asked for with; "90a" has instructions that no later device has
    arch: Device("cuda", f"compute_{arch.removeprefix('sm_').rstrip('a')}")
    for arch in (device.arch for device in DEVICES.values() if device.kind == "cuda")
}
EVERY: tuple[Device, ...] = (*DEVICES.values(), *PTX.values())  # in the order of an artifact's codes


def parse(name: str) -> tuple[Device, ...]:
    """The devices of a target name, in the order of the table. Raises UsageError for an unknown one, ToolchainError for CUDA
    architectures before sm_80."""
    kind, _, detail = name.partition(":")
    known = [d for d in DEVICES.values() if d.kind == kind]
    if not detail:
        return tuple(known)
    wanted = [_split(kind, arch) for arch in detail.split(",")]
    for arch, _ in wanted:
        if f"{kind}:{arch}" not in DEVICES:
            raise _unknown(kind, arch, [d.arch for d in known])
    archs = {arch for arch, _ in wanted} | {PTX[arch].arch for arch, ptx in wanted if ptx}
    return tuple(d for d in EVERY if d.kind == kind and d.arch in archs)


def _split(kind: str, arch: str) -> tuple[str, bool]:
    """The architecture, and whether PTX is asked for with it."""
    return (arch.removesuffix(_PTX), arch.endswith(_PTX)) if kind == "cuda" else (arch, False)


def target_names(devices: tuple[Device, ...]) -> list[str]:
    """Of each kind the name that means its `devices`: "cuda" where they are all there are, or "cuda:sm_80,sm_90a+ptx"."""
    names = []
    for kind in ("cuda", "rocm"):
        archs = [d.arch for d in devices if d.kind == kind and d not in PTX.values()]
        every = len(archs) == sum(d.kind == kind for d in DEVICES.values())
        if archs:
            words = [arch + _PTX * (kind == "cuda" and PTX[arch] in devices) for arch in archs]
            names.append(kind if every and words == archs else f"{kind}:{','.join(words)}")
    return names


def _unknown(kind: str, arch: str, known: list[str]) -> UsageError | ToolchainError:
    number = arch.removeprefix("sm_").rstrip("af")
    if kind == "cuda" and arch.startswith("sm_") and number.isdigit() and int(number) < CUDA_MINIMUM:
        return ToolchainError(
            f"target cuda:{arch}: CUDA code is for sm_{CUDA_MINIMUM} and later", hint=f"one of {', '.join(known)}"
        )
    return UsageError(f"unknown target '{kind}:{arch}'", hint=f"{kind} architectures: {', '.join(known)}")
