"""`llmc inspect`: what a checkpoint or an artifact holds, and the memory it needs. Reads headers and manifests, never weights.

A checkpoint is read as carefully as for compiling, and one that llmc cannot compile is still described.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmc.errors import MalformedFileError, UnsupportedModelError

if TYPE_CHECKING:
    from llmc.frontend.checkpoint import Checkpoint

MAX_SHOWN = 20  # labels
KV_BYTES = 2  # of one cached value: f16, unless compiled with --activations f32


@dataclass(frozen=True)
class Memory:
    """What one session with one sequence of `context` tokens takes, in bytes. `window`: what layers with a window keep of it.
    Known once compiled: `arena`, working memory, and `state`, what recurrent layers keep of a sequence."""

    context: int
    weights: int
    kv_per_token: int
    arena: int = 0
    state: int = 0
    window: int = 0

    def describe(self) -> dict[str, int]:
        kv = self.kv_per_token * self.context + self.window
        return {**asdict(self), "kv": kv, "total": self.weights + kv + self.arena + self.state}


def inspect(path: Path, *, context: int | None = None) -> dict[str, Any]:
    """A description of `path` that can be printed as JSON; "kind" is "checkpoint" or "artifact".

    context is in tokens; None takes the model's own. Raises MalformedFileError or UnsupportedModelError.
    """
    from llmc.frontend.huggingface import is_model_directory

    if path.is_dir() and not is_model_directory(path):
        return _artifact(path, context)
    return _checkpoint(path, context)


def _checkpoint(path: Path, context: int | None) -> dict[str, Any]:
    from llmc.frontend import arch
    from llmc.frontend.load import read_checkpoint

    with read_checkpoint(path) as checkpoint:
        config, why_not = _config(checkpoint)
        tensors: list[dict[str, Any]] = [
            {"name": t.name, "shape": [*t.shape], "format": t.format.name, "bytes": t.nbytes} for t in checkpoint.tensors.values()
        ]
        known = checkpoint.architecture in (arch.find() if checkpoint.container == "gguf" else arch.by_class())
        return {
            "kind": "checkpoint",
            "path": str(path),
            "container": checkpoint.container,
            "files": [f.name for f in checkpoint.files],
            "name": checkpoint.string("general.name", default=None),
            "architecture": checkpoint.architecture,
            "supported": known and why_not is None,
            "why_not": why_not or (None if known else f"llmc does not know the architecture {checkpoint.architecture}"),
            "config": config,
            **_sizes(tensors),
            "memory": _memory(config, sum(t["bytes"] for t in tensors), context) if config else None,
            "tensors": tensors,
        }


def _config(checkpoint: Checkpoint) -> tuple[dict[str, Any] | None, str | None]:
    """The hyper-parameters, or why llmc cannot make sense of them: another family has other keys."""
    from llmc.frontend import arch
    from llmc.frontend.config import read_config

    family = (arch.find() if checkpoint.container == "gguf" else arch.by_class()).get(checkpoint.architecture)
    try:
        return asdict(family.config(checkpoint) if family else read_config(checkpoint)), None
    except (UnsupportedModelError, MalformedFileError) as error:
        return None, error.message


def _sizes(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """How many weights there are, in how many bytes, and the share of each format."""
    count: Counter[str] = Counter()
    nbytes: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for t in tensors:
        n = 1
        for d in t["shape"]:
            n *= d
        count[t["format"]] += 1
        nbytes[t["format"]] += t["bytes"]
        weights[t["format"]] += n
    total = weights.total()
    return {
        "weights": total,
        "bytes": nbytes.total(),
        "bits_per_weight": round(8 * nbytes.total() / total, 3) if total else None,
        "formats": [
            {"format": f, "tensors": count[f], "weights": weights[f], "bytes": nbytes[f]} for f, _ in nbytes.most_common()
        ],
    }


def _memory(config: dict[str, Any], weights: int, context: int | None) -> dict[str, int]:
    """The estimate from a checkpoint's hyper-parameters."""
    layers, tokens = config["layers"] - sum(config["recurrent"]), context or config["context"]
    layers = config["parts"].count("attention") if config["parts"] else layers
    local = sum(config["local_layers"] or ()) if config["window"] else 0
    of_layer = 2 * config["kv_heads"] * config["head_dim"] * KV_BYTES
    window = local * of_layer * min(tokens, config["window"])
    return Memory(tokens, weights, (layers - local) * of_layer, window=window).describe()


def _artifact(path: Path, context: int | None) -> dict[str, Any]:
    from llmc import artifact

    facts = artifact.read_manifest(path)
    per_token = sum(group["page_bytes"] // group["tokens_per_page"] for group in facts["cache"] if group["kind"] == "paged")
    state = sum(group["slot_bytes"] for group in facts["cache"] if group["kind"] == "state")
    tokens = context or facts["config"]["context"]
    window = sum(_window_bytes(group, tokens) for group in facts["cache"] if group["kind"] == "window")
    weights = facts["files"][artifact.WEIGHTS_NAME]["size"]
    memory = Memory(tokens, weights, per_token, facts["arena_bytes"], state, window)
    return {**facts, "path": str(path), **_sizes(facts["tensors"]), "memory": memory.describe()}


def _window_bytes(group: dict[str, int], tokens: int) -> int:
    """The most that the layers of a group with a window keep of a sequence of so many tokens."""
    return group["page_bytes"] * min(group["most_pages"], -(-tokens // group["tokens_per_page"]))


def text(result: dict[str, Any], *, verbose: bool = False) -> str:
    """The description for a reader; every tensor with `verbose`."""
    lines = [", ".join(filter(None, (f"{result['path']}: {result['kind']}", result["architecture"], printable(result["name"]))))]
    if result.get("why_not"):
        lines.append(f"llmc cannot compile it: {result['why_not']}")
    lines.append(f"{result['weights']:,} weights, {_size(result['bytes'])}, {result['bits_per_weight']} bits per weight")
    lines += [f"  {f['format']:<8} {f['tensors']:>5} tensors  {_size(f['bytes']):>10}" for f in result["formats"]]
    if result["kind"] == "artifact":
        compiled_for = ", ".join([*result["isas"], *result.get("devices", ())])
        lines.append(f"compiled for {compiled_for}; {result['activations']} activations")
        if lost := result.get("requantized"):
            lines.append(f"weights stored as {lost['weights']}: relative error {lost['relative_error']:.3g}")
        lines += [f"keys and values in {g['dtype']}: error {g['error']}" for g in result["cache"] if "error" in g]
        lines.append(f"promise: {result['promise']}")
        lines += [_encoder_text(result["encoder"])] if "encoder" in result else []
        lines += [f"  {name:<24} {_size(file['size']):>10}" for name, file in result["files"].items()]
    if result["memory"]:
        lines.append(_memory_text(result["memory"]))
    for t in result["tensors"] if verbose else ():
        lines.append(f"  {t['name']:<40} {t['format']:<8} {'x'.join(map(str, t['shape'])):>16}  {_size(t['bytes']):>10}")
    return "\n".join(lines)


def _encoder_text(e: dict[str, Any]) -> str:
    """What comes out of a model that does not generate."""
    if e["labels"]:
        shown = ", ".join(printable(label) for label in e["labels"][:MAX_SHOWN])
        more = f" and {len(e['labels']) - MAX_SHOWN} more" if len(e["labels"]) > MAX_SHOWN else ""
        return f"classifier: scores of {shown}{more}; pooling {e['pooled']}"
    unit = ", brought to length 1" if e["normalize"] else ""
    return f"embeddings: {e['width']} numbers; pooling {e['pooling']}{unit}"


def printable(text: str | None) -> str:
    """A text from a file, without what would move the cursor; empty where there is none."""
    return "".join(c if c.isprintable() else "?" for c in text or "")


def _memory_text(m: dict[str, int]) -> str:
    parts = [f"{_size(m['weights'])} of weights", f"{_size(m['kv'])} of KV cache ({_size(m['kv_per_token'])} a token)"]
    if m["window"]:
        parts[-1] = f"{_size(m['kv'])} of KV cache ({_size(m['window'])} for windows, {_size(m['kv_per_token'])} a token)"
    if m["state"]:
        parts.append(f"{_size(m['state'])} of states")
    if m["arena"]:
        parts.append(f"{_size(m['arena'])} to work in")
    return f"memory at {m['context']:,} tokens: {' + '.join(parts)} = {_size(m['total'])}"


def _size(nbytes: float) -> str:
    """1,234,567 -> 1.2 MB"""
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.2f} GB"
