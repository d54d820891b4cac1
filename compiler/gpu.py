"""What llmc can compile for besides processors: GPU architectures, and what the code generators must know of each.

`cuda:sm_90a` names one architecture, `cuda:sm_80,sm_90a` several, `cuda` alone all of the table. A machine runs the code of its
own architecture: cubins of one major version run on later minor versions of it (sm_86 runs sm_80), never across majors.
"""

from dataclasses import dataclass
from typing import Literal

from llmc.errors import ToolchainError, UsageError

Kind = Literal["cuda", "rocm", "opencl"]


@dataclass(frozen=True)
class Device:
    """One architecture.

    kind    "cuda" and "rocm" are targets; "opencl" exists for tests, which run the same kernels on a processor
    arch    as the vendor names it: sm_90a, gfx942
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


def parse(name: str) -> tuple[Device, ...]:
    """The devices of a target name, in the order of the table. Raises UsageError for an unknown one, ToolchainError for CUDA
    architectures before sm_80."""
    kind, _, detail = name.partition(":")
    known = [d for d in DEVICES.values() if d.kind == kind]
    if not detail:
        return tuple(known)
    wanted = detail.split(",")
    for arch in wanted:
        if f"{kind}:{arch}" not in DEVICES:
            raise _unknown(kind, arch, [d.arch for d in known])
    return tuple(d for d in known if d.arch in wanted)


def target_names(devices: tuple[Device, ...]) -> list[str]:
    """Of each kind the name that means its `devices`: "cuda" where they are all there are, or "cuda:sm_80,sm_90a"."""
    names = []
    for kind in ("cuda", "rocm"):
        archs = [d.arch for d in devices if d.kind == kind]
        if archs:
            every = len(archs) == sum(d.kind == kind for d in DEVICES.values())
            names.append(kind if every else f"{kind}:{','.join(archs)}")
    return names


def _unknown(kind: str, arch: str, known: list[str]) -> UsageError | ToolchainError:
    number = arch.removeprefix("sm_").rstrip("af")
    if kind == "cuda" and arch.startswith("sm_") and number.isdigit() and int(number) < CUDA_MINIMUM:
        return ToolchainError(
            f"target cuda:{arch}: CUDA code is for sm_{CUDA_MINIMUM} and later", hint=f"one of {', '.join(known)}"
        )
    return UsageError(f"unknown target '{kind}:{arch}'", hint=f"{kind} architectures: {', '.join(known)}")
