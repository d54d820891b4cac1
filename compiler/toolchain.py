"""The C compiler and linker: ziglang from PyPI by default, so that nothing has to be installed; gcc or clang when asked for.

Objects are kept in the cache under a hash of everything that shapes them, so a second compile of the same source costs nothing.
What comes out is the same for the same input: sources are compiled by name from their own folder, without debug information,
identification strings, build ids or times. The code runs on any x86-64-v2 processor and, from ziglang, on glibc 2.17 and later.
"""

from __future__ import annotations

import functools
import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from llmc import debug
from llmc.errors import ToolchainError

ZIG_TARGET = "x86_64-linux-gnu.2.17"
COMPILE_FLAGS = ("-std=c11", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-ident", "-fno-strict-aliasing")
LINK_FLAGS = ("-s", "-Wl,--build-id=none", "-Wl,-z,now", "-Wl,-z,relro", "-Wl,-z,noexecstack")
SYSTEM_LIBRARIES = ("-lm", "-lpthread", "-ldl")
MESSAGE_LINES = 12

# Sources in runtime/src that do not belong into an artifact's library, and what the two other products are made of.
_OUTSIDE = ("forward.c", "library.c", "loader.c", "main.c", "options.c", "report.c")
_PROGRAM = ("file.c", "forward.c", "loader.c", "main.c", "options.c", "report.c", "status.c")
_GPU = ("device_cuda.c", "device_hip.c", "gpu.c", "gpu_graphs.c", "gpu_memory.c", "gpu_results.c", "gpu_session.c",
        "gpu_upload.c")  # fmt: skip
_LOADER = ("file.c", "forward.c", "library.c", "loader.c", "memory.c", "status.c", "vocabulary.c", "tokenizer*.c",
           "pretokenize.c", "utf8.c")  # fmt: skip


@dataclass(frozen=True)
class Toolchain:
    """A compiler driver that also links.

    command   what to start, before any flag
    identity  its name and version: part of every cache key
    baseline  the flag for code that runs on every x86-64-v2 processor
    """

    command: tuple[str, ...]
    identity: str
    baseline: str

    @classmethod
    def find(cls, cc: str | None = None) -> Toolchain:
        """The compiler called `cc` ("gcc", "clang", a path, flags after it), or ziglang's. Raises ToolchainError."""
        return _find(cc)

    def compile(self, sources: Sequence[Path], *, include: Sequence[Path] = (), flags: Sequence[str] = ()) -> list[Path]:
        """Objects of C sources, in their order; those not in the cache are compiled side by side.

        Raises ToolchainError with the compiler's last lines.
        """
        headers = _digest_headers([*include, *sorted({s.parent for s in sources})])
        with ThreadPoolExecutor(debug.jobs()) as pool:
            return [*pool.map(lambda s: self._object(s, headers, include, flags), sources)]

    def _object(self, source: Path, headers: str, include: Sequence[Path], flags: Sequence[str]) -> Path:
        arguments = [*COMPILE_FLAGS, self.baseline, *flags]
        key = _digest(self.identity, *arguments, source.name, source.read_text(encoding="utf-8"), headers)
        kept = debug.cache_dir() / "objects" / f"{source.stem}-{key[:32]}.o"
        if kept.exists():
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        folders = [f"-I{folder.resolve()}" for folder in include]
        with tempfile.TemporaryDirectory(prefix=".compile-", dir=kept.parent) as beside:
            out = Path(beside).resolve() / "out.o"
            self._run(source.name, [*arguments, *folders, "-c", source.name, "-o", str(out)], cwd=source.parent)
            out.replace(kept)
        return kept

    def link_shared(self, objects: Sequence[Path], out: Path, *, exports: Sequence[str]) -> None:
        """Links a shared library that exports exactly these names (patterns with * are allowed). Raises ToolchainError."""
        with tempfile.TemporaryDirectory(prefix="llmc-link-") as folder:
            script = Path(folder) / "exports.map"
            script.write_text("{ global: " + " ".join(f"{name};" for name in exports) + " local: *; };\n")
            self._link(objects, out, ["-shared", "-Wl,--no-undefined", f"-Wl,--version-script={script}"])

    def link_program(self, objects: Sequence[Path], out: Path) -> None:
        """Links a program. Raises ToolchainError."""
        self._link(objects, out, [])

    def _link(self, objects: Sequence[Path], out: Path, flags: Sequence[str]) -> None:
        inputs = [str(o.resolve()) for o in objects]
        self._run(out.name, [*flags, *LINK_FLAGS, "-o", str(out.resolve()), *inputs, *SYSTEM_LIBRARIES], cwd=out.parent)

    def _run(self, what: str, arguments: Sequence[str], cwd: Path) -> None:
        zig = str(debug.cache_dir().absolute() / "zig")
        environment = debug.environment(ZIG_GLOBAL_CACHE_DIR=zig, ZIG_LOCAL_CACHE_DIR=zig)
        try:
            done = subprocess.run(
                [*self.command, *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
            )  # fmt: skip
        except OSError as error:
            raise ToolchainError(f"cannot start {self.command[0]}: {error.strerror}") from error
        if done.returncode:
            last = "\n".join(done.stdout.splitlines()[-MESSAGE_LINES:])
            raise ToolchainError(f"{what}: {self.identity} failed with exit code {done.returncode}\n{last}")


@functools.cache
def _find(cc: str | None) -> Toolchain:
    if cc is None:
        return _ziglang()
    words = shlex.split(cc)
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise ToolchainError(f"no C compiler called {cc!r} was found", hint="leave --cc out to use ziglang's")
    command = (program, *words[1:])
    try:
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, errors="replace").stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolchainError(f"{cc} --version failed: {error}") from error
    return Toolchain(command, f"{Path(program).name} {version.partition(chr(10))[0]}", "-march=x86-64-v2")


def _ziglang() -> Toolchain:
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        raise ToolchainError("ziglang, the C compiler, is not installed", hint="pip install ziglang, or give another: --cc gcc")
    zig = Path(package.origin).with_name("zig.exe" if sys.platform == "win32" else "zig")
    command = (str(zig), "cc", "-target", ZIG_TARGET)
    return Toolchain(command, f"zig cc {metadata.version('ziglang')} {ZIG_TARGET}", "-mcpu=x86_64_v2")


def runtime_include() -> list[Path]:
    """Folders with the runtime's headers."""
    runtime = Path(str(files("llmc.runtime")))
    return [runtime / "include", runtime / "src"]


def runtime_sources(product: Literal["artifact", "gpu", "program", "loader"]) -> list[Path]:
    """C sources of an artifact's library (without its plan), of its part for GPUs, of its program `run`, and of libllmc."""
    folder = Path(str(files("llmc.runtime"))) / "src"
    if product == "artifact":
        return sorted(f for f in folder.glob("*.c") if f.name not in (*_OUTSIDE, *_GPU))
    patterns = {"gpu": _GPU, "program": _PROGRAM, "loader": _LOADER}[product]
    return sorted(f for pattern in patterns for f in folder.glob(pattern))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _digest_headers(folders: Sequence[Path]) -> str:
    """Of every header a source could include."""
    headers = sorted(h for folder in set(folders) for h in folder.glob("*.h"))
    return _digest(*(part for h in headers for part in (h.name, h.read_text(encoding="utf-8"))))
