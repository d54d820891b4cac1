"""The compiler from end to end: checkpoint, graph, passes, plan, kernels, weights, library, artifact.

    read -> optimize -> lower -> [ build kernels | pack weights ] -> link -> publish

Nothing is written until the checkpoint has been understood, and the artifact appears whole or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmc import artifact, manifest, target
from llmc.artifact import File
from llmc.codegen import link
from llmc.codegen import weights as weights_file
from llmc.codegen.build import build_objects
from llmc.codegen.emit import EncoderFacts, Facts, emit
from llmc.codegen.gpu import emit as gpu_emit
from llmc.codegen.gpu.build import build as build_gpu
from llmc.codegen.gpu.emit import Code
from llmc.codegen.gpu.lower import GpuPlan
from llmc.codegen.gpu.lower import lower as lower_gpu
from llmc.codegen.lower import lower
from llmc.codegen.plan import NoKernelError, Plan
from llmc.codegen.requantize import Changes
from llmc.errors import UnsupportedModelError, UsageError
from llmc.frontend.load import Model, for_gpu, open_model, step_tokens
from llmc.ir.graph import Graph
from llmc.passes.pipeline import optimize
from llmc.requantization import formats_for, report
from llmc.target import Target
from llmc.toolchain import Toolchain

Progress = Callable[[str, float, float], None]
ACTIVATIONS = ("int8", "f32")
KV_DTYPE = {"int8": "f16", "f32": "f32"}
KV_DTYPES = ("f16", "q8", "f32")


@dataclass(frozen=True)
class CompileResult:
    """What a compile made. Sizes in bytes; `seconds` by phase; `kernel_calls` in one step. `requantized` is what storing weights
    in another format changed (requantization.py), None where that was not asked for."""

    path: Path
    target: str
    files: dict[str, int]
    kernels: int
    kernel_calls: int
    arena: int
    requantized: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def weights_bytes(self) -> int:
        return sum(size for name, size in self.files.items() if name.startswith("weights"))

    @property
    def code_bytes(self) -> int:
        return sum(size for name, size in self.files.items() if name.endswith((".so", ".cubin", ".ptx", ".hsaco")))


def compile(
    source: Path,
    out: Path,
    *,
    targets: Sequence[str],
    activations: str = "int8",
    weights: str | None = None,
    kv: str | None = None,
    cc: str | None = None,
    pre: str | None = None,
    arch: Path | None = None,
    progress: Progress | None = None,
) -> CompileResult:
    """Compiles the checkpoint `source` into the artifact directory `out`.

    activations: "int8" or "f32" (exact arithmetic). weights: the format to store matrices in (requantization.py); None keeps the
    checkpoint's. kv: stored type of keys and values, one of KV_DTYPES; None is f16 beside int8, f32 beside f32. arch: a
    file with an architecture of the user's own, which is executed.
    Raises the errors of llmc.errors; on any of them `out` is as it was before.
    """
    if activations not in ACTIVATIONS:
        raise UsageError(f"unknown activations {activations!r}", hint="int8 or f32")
    if kv is not None and kv not in KV_DTYPES:
        raise UsageError(f"keys and values stored as {kv!r}", hint="f16, q8 or f32")
    wanted, formats = target.parse_all(targets), formats_for(weights) if weights else None
    clock = _Clock(progress)
    with clock.phase("reading"):
        model = open_model(source, pre=pre, arch=arch)
    with clock.phase("optimizing"):
        kv = kv or KV_DTYPE[activations]
        plan = lower(optimize(model.graph, activations, kv, formats))
        gpu_plan = _gpu_plan(optimize(for_gpu(model.graph), "f32", kv, formats), plan, activations) if wanted.devices else None
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        folder = Path(beside) / out.name
        folder.mkdir()
        lost = _Build(model, plan, gpu_plan, wanted, Toolchain.find(cc), folder, clock).run(activations, weights)
        artifact.publish(folder, out)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    return CompileResult(out, wanted.name, files, len(plan.specs), plan.calls, plan.arena, lost, clock.seconds)


def _gpu_plan(graph: Graph, plan: Plan, activations: str) -> GpuPlan:
    """What is int8 on processors is f16 on matrix units. Raises UnsupportedModelError for what has no GPU kernels yet."""
    try:
        return lower_gpu(graph, plan.weights, exact=activations == "f32")
    except NoKernelError as error:
        raise UnsupportedModelError(f"this model cannot be compiled for a GPU: {error}", hint="--target cpu") from error


class _Clock:
    """Seconds by phase, and the caller's progress callback."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self.report: Progress = progress or (lambda phase, done, total: None)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        self.report(name, 0, 1)
        yield
        self.report(name, 1, 1)
        self.seconds[name] = round(time.monotonic() - begun, 3)


@dataclass(frozen=True)
class _Build:
    """One artifact in the making, in `folder`."""

    model: Model
    plan: Plan
    gpu_plan: GpuPlan | None
    target: Target
    toolchain: Toolchain
    folder: Path
    clock: _Clock

    def run(self, activations: str, asked: str | None) -> dict[str, Any] | None:
        """Writes every file. `asked`: the format weights are stored in; what that changed is returned."""
        with self.clock.phase("hashing"):
            source = self.model.checkpoint.sha256()
        identity = self.plan.weights.identity(source)
        with ThreadPoolExecutor(1) as pool:  # kernels are built by processes of their own: this thread packs meanwhile
            kernels = pool.submit(self._kernels)
            weights_sha, changes = self._weights(identity)
            objects = kernels.result()
        gpu = self._gpu()
        tokenizer = artifact.write_vocabulary(self.folder, self.model.tokenizer)
        facts = self._facts(File(artifact.WEIGHTS_NAME, self.plan.weights.size, identity), tokenizer)
        with self.clock.phase("linking"):
            plan = emit(self.plan, facts, self.target.isas, gpu)
            link.library(self.toolchain, plan, objects, self.folder / artifact.PLATFORM_LIBRARY, gpu=bool(gpu))
            link.program(self.toolchain, self.folder / artifact.PROGRAM_NAME)
        for name in (artifact.PLATFORM_LIBRARY, artifact.PROGRAM_NAME):
            artifact.make_executable(self.folder / name)
        described = manifest.describe(self.model, self.plan, self.target, source, activations)
        lost = report(asked, changes) if asked else None
        described |= {"requantized": lost} if lost else {}
        artifact.write_manifest(self.folder, described, known={artifact.WEIGHTS_NAME: weights_sha})
        return lost

    def _kernels(self) -> list[Path]:
        with self.clock.phase("building kernels"):
            objects = [path for isa in self.target.isas for path in build_objects(self.plan.specs, isa)]
            return [*dict.fromkeys(objects)]  # levels share some

    def _gpu(self) -> str:
        """Builds and writes the machine code for every device; the C text that launches it."""
        if self.gpu_plan is None:
            return ""
        with self.clock.phase("building GPU code"):
            built = build_gpu(self.gpu_plan.specs, self.target.devices)
        codes = [Code(device, f"{device.kind}-{device.arch}.{device.suffix}", path.stat().st_size)
                 for device, path in zip(self.target.devices, built, strict=True)]  # fmt: skip
        for code, path in zip(codes, built, strict=True):
            shutil.copyfile(path, self.folder / code.file)
        return gpu_emit.emit(self.gpu_plan, codes)

    def _weights(self, identity: bytes) -> tuple[str, Changes]:
        file, checkpoint = self.plan.weights, self.model.checkpoint
        header = artifact.weights_header(file.size, identity)
        with self.clock.phase("packing weights"):
            return weights_file.write(
                file, self.folder / artifact.WEIGHTS_NAME, header, checkpoint.pieces, checkpoint.release,
                lambda done: self.clock.report("packing weights", done, file.size), lambda name: checkpoint.tensors[name].format,
            )  # fmt: skip

    def _facts(self, weights_file: File, tokenizer: File) -> Facts:
        model, c = self.model, self.model.config
        encoder = EncoderFacts(**asdict(model.encoder)) if model.encoder else None
        tokens = step_tokens(model.architecture, c)
        return Facts(model.name, model.vocab, c.hidden, c.layers, c.context, tokens, weights_file, tokenizer, encoder)
