"""Where the benchmark's models come from: synthetic checkpoints, artifacts compiled from them, and what limits their speed."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import make_model
from benchmarks.make_model import SHAPES, Tensor, storage_of, tensors
from benchmarks.process import run
from llmc import debug

FOLDER = Path("build") / "bench"


@dataclass(frozen=True)
class Model:
    """A shape of `make_model` in one of its kinds."""

    shape: str
    kind: str

    def __str__(self) -> str:
        return f"{self.shape} {self.kind}"

    @property
    def gguf(self) -> Path:
        return FOLDER / f"{self.shape}-{self.kind}.gguf"

    @property
    def artifact(self) -> Path:
        return self.gguf.with_suffix(".llmc")

    @property
    def weights(self) -> Path:
        """The artifact's one file of weights, which the read loop reads."""
        (file,) = self.artifact.glob("weights*.bin")
        return file

    def make(self) -> None:
        """Writes the checkpoint unless it is there, in a process of its own: ours stays small."""
        if not self.gguf.exists():
            beside = self.gguf.with_suffix(".part")
            run([sys.executable, "-m", make_model.__name__, self.shape, self.kind, str(beside)])
            beside.rename(self.gguf)

    def _matrices(self) -> list[Tensor]:
        return [t for t in tensors(SHAPES[self.shape]) if not t.is_f32]

    def _bytes(self, t: Tensor) -> int:
        return t.weights // t.shape[-1] * storage_of(SHAPES[self.shape], t, self.kind).row_bytes(t.shape[-1])

    def read_share(self, depth: float) -> float:
        """Bytes one token of decoding must read, as a share of the weights file: an embedding that is not also the head is
        not read, the f16 keys and values of `depth` positions are."""
        s, matrices = SHAPES[self.shape], self._matrices()
        total = sum(self._bytes(t) for t in matrices)
        unread = 0 if s.tied else sum(self._bytes(t) for t in matrices if t.name == "token_embd.weight")
        cache = depth * s.layers * 2 * s.kv_heads * s.head_dim * 2
        return (total - unread + cache) / total

    def operations(self, tokens: int, heads: int) -> float:
        """Multiplications and additions of the products with weights: layers for every token, the head for `heads` of them."""
        s = SHAPES[self.shape]
        layers = sum(t.weights for t in self._matrices() if t.name.startswith("blk."))
        if s.experts:
            experts = sum(t.weights for t in self._matrices() if "_exps" in t.name)
            layers += experts // s.experts * s.used - experts
        return 2.0 * (layers * tokens + s.vocab * s.hidden * heads)


def compiled(model: Model, target: str) -> dict[str, Any]:
    """Compiles twice on one core: with no kernel in the cache (but the toolchain's own libraries), then with all of them."""
    with tempfile.TemporaryDirectory() as cache:
        kept = debug.cache_dir().absolute() / "zig"
        kept.mkdir(parents=True, exist_ok=True)
        (Path(cache) / "zig").symlink_to(kept)
        cold, warm = (_compile(model, target, cache) for _ in range(2))
    files = {f.name: f.stat().st_size for f in sorted(model.artifact.iterdir())}
    code = sum(size for name, size in files.items() if name.endswith(".so"))
    return {
        "target": target, "first": cold, "again": warm, "artifact_bytes": sum(files.values()), "code_bytes": code, "files": files,
    }  # fmt: skip


def _compile(model: Model, target: str, cache: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "llmc", "compile", str(model.gguf), "--target", target, "-o", str(model.artifact), "--json"]
    done = run(command, cpus={min(os.sched_getaffinity(0))}, environment={**os.environ, "LLMC_CACHE": cache})
    return {"seconds": done.seconds, "peak_bytes": done.peak_bytes, "report": json.loads(done.output)}


def ctranslate2(model: Model, python: str) -> Path:
    """The same shape with int8 weights as CTranslate2 reads it, made by the interpreter that has it unless it is there."""
    folder = FOLDER / f"{model.shape}-ctranslate2"
    if not (folder / "model.bin").exists():
        maker = Path(__file__).with_name("peers") / "ctranslate2_model.py"
        run([python, str(maker), str(folder), json.dumps(asdict(SHAPES[model.shape]))])
    return folder
