"""Makes a kit: what a GPU machine needs to check and measure llmc, with nothing of llmc's compiler, in some tens of megabytes.

    python -m benchmarks.gpu.kit OUT [--shape llama-8b] [--kind q4_k_m] [--target cuda:sm_90a] [--model NAME=MODEL.gguf ...]

    OUT/run.py native.py c_types.py libllmc.so      the script, what it is made of, the library it calls
    OUT/kernels/{cases.json,NNN.npz,ARCH.cubin}     launches of every kernel with results within tolerance of float64 (record.py)
    OUT/models/NAME/{model.llmc,expected.npz}       small models with logits of exact arithmetic on this machine's processor
    OUT/large/{model.llmc,fill.json,patterns.bin}   a large model without its weights, and what they are filled with there
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import llmc
from benchmarks.gpu import record
from benchmarks.make_model import SHAPES
from benchmarks.models import Model
from llmc import target
from llmc.codegen.gpu.lower import lower
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.codegen.weights import HEADER_BYTES, Region, WeightFile
from llmc.frontend.load import for_gpu, open_model
from llmc.ir.storage import TILE
from llmc.passes.pipeline import optimize
from llmc.runtime import library

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "pydocs-q4_k_m.gguf"
TOKENS = 70
TOLERANCES = {"f32": 1e-3, "int8": 0.2}  # of logits, by the activations a model is compiled with: matrix units take halves
PATTERN = 256 << 10  # bytes, about
SCRIPTS = ("benchmarks/gpu/run.py", "benchmarks/gpu/native.py", "runtime/c_types.py")


def make(
    out: Path,
    shape: str,
    kind: str,
    targets: list[str],
    models: dict[str, Path],
    activations: Sequence[str] = tuple(TOLERANCES),
    tests: Sequence[str] = ("tests/codegen/gpu",),
) -> list[GpuKernelSpec]:
    """Writes a kit. models: checkpoints that are checked, by name; activations: what they are compiled with; tests: those whose
    kernels are checked, and are returned."""
    out.mkdir(parents=True)
    for script in SCRIPTS:
        shutil.copy(ROOT / script, out)
    shutil.copyfile(library.path(), out / "libllmc.so")
    kernels = record.record(out / "kernels", target.parse_all(targets).devices, tests)
    for name, source in models.items():
        small(out / "models", name, source, targets, activations)
    large(out / "large", Model(shape, kind), targets)
    return kernels


def small(folder: Path, name: str, source: Path, targets: list[str], activations: Sequence[str]) -> None:
    """Artifacts of one checkpoint, and the logits of the last five tokens by exact arithmetic on this machine's processor."""
    exact = folder / "exact.llmc"
    llmc.compile(source, exact, targets=["cpu:native"], activations="f32")
    with llmc.load(exact) as model:
        tokens = np.random.default_rng(0).integers(5, model.info.vocab, TOKENS).astype(np.int32)
        logits = model.logits(tokens)[-5:]
    shutil.rmtree(exact)
    for kind in activations:
        place = folder / f"{name}-{kind}"
        llmc.compile(source, place / "model.llmc", targets=targets, activations=kind)
        np.savez(place / "expected.npz", tokens=tokens, logits=logits, tolerance=TOLERANCES[kind])


def large(folder: Path, model: Model, targets: list[str]) -> None:
    """The artifact of a synthetic checkpoint; its weights are kept as one pattern for each format and width."""
    model.make()
    result = llmc.compile(model.gguf, folder / "model.llmc", targets=targets)
    file = lower(optimize(for_gpu(open_model(model.gguf).graph), "f32", "f16")).weights
    (path,) = (folder / "model.llmc").glob("weights*.bin")
    with path.open("rb") as weights:
        header = weights.read(HEADER_BYTES)
    regions, patterns = patterns_of(file, np.memmap(path, np.uint8, "r"))
    path.unlink()
    plan = {"name": path.name, "size": file.size, "header": header.hex(), "regions": regions}
    (folder / "fill.json").write_text(json.dumps(plan))
    (folder / "patterns.bin").write_bytes(patterns)
    facts = {"shape": str(model), "code_bytes": result.code_bytes, "flop_per_token": model.operations(1, 0),
             "step_bytes": model.read_share(0) * file.size}  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts))


def patterns_of(file: WeightFile, data: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> tuple[list[dict[str, object]], bytes]:
    """Where each weight lies and which pattern fills it; the patterns. A vector is its own pattern."""
    places: dict[object, tuple[int, int]] = {}
    patterns = bytearray()
    regions: list[dict[str, object]] = []
    for region in file.regions:
        key, size = _pattern(region)
        if key not in places:
            places[key] = (len(patterns), size)
            patterns += data[region.offset : region.offset + size].tobytes()
        regions.append({"offset": region.offset, "nbytes": region.nbytes, "pattern": places[key]})
    return regions, bytes(patterns)


def _pattern(region: Region) -> tuple[object, int]:
    """What regions with the same pattern have in common, and its bytes: whole tiles of rows."""
    if region.layout != "tile16":
        return region.name, region.nbytes
    rows = -(-region.shape[-2] // TILE) * int(np.prod(region.shape[:-2], dtype=np.int64))
    tile = region.nbytes // rows
    return (region.format.name, region.shape[-1]), min(region.nbytes, max(1, PATTERN // tile) * tile)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", default="llama-8b", choices=[*SHAPES])
    parser.add_argument("--kind", default="q4_k_m")
    parser.add_argument("--target", default="cuda:sm_90a")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=GGUF", help="checked too, beside the bundled model")
    o = parser.parse_args()
    models = {"demo": DEMO} | {name: Path(path) for name, _, path in (m.partition("=") for m in o.model)}
    shutil.rmtree(o.out, ignore_errors=True)
    make(o.out, o.shape, o.kind, [o.target], models)
    print(f"{o.out}: {sum(f.stat().st_size for f in o.out.rglob('*')) / 1e6:.1f} MB; there: python {o.out.name}/run.py")


if __name__ == "__main__":
    main()
