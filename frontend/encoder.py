"""Encoders: their attention, what embeds their tokens, and what a checkpoint says becomes of the states of a text's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.huggingface import HuggingFace
from llmc.frontend.json_file import read_json, read_json_array
from llmc.frontend.layers import Step, head_norm, linear, linears
from llmc.frontend.weights import Weights
from llmc.ir.graph import Builder, Value
from llmc.ir.ops import SEGMENTS

MAX_STEP: Final = 1 << 14  # tokens: what a text may have at most, whatever the context
POOLING_TYPES: Final = ("none", "mean", "cls", "last")  # of GGUF's pooling_type, by number; 4 is "rank"
MODULES: Final = "modules.json"
MAX_JSON: Final = 1 << 20
MODES: Final = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last",
}  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """width: of a row of results; pooling: "none", "mean", "cls", "last"; normalize: pooled rows are brought to length 1.

    segments: how many the model tells apart, 0 where it does not.
    """

    width: int
    pooling: str
    normalize: bool
    segments: int


def attention_both(
    s: Step, x: Value, w: Weights, *, reach: int = 0, qk_norm: bool = False, table: Value | None = None
) -> Value:
    """x [T, C] -> [T, C]: attention to both sides, to keys at most `reach` positions away unless that is 0.

    table: rotates queries and keys. Keys and values live as long as the layer: one layer's place in the
    cache serves all.
    """
    c = s.config
    rows = {"attn.q": c.heads * c.head_dim, "attn.k": c.kv_heads * c.head_dim, "attn.v": c.kv_heads * c.head_dim}
    q, k, v = linears(s, x, w, "attn.qkv", rows, c.hidden)
    if qk_norm:
        q, k = head_norm(s, q, w, "q_norm", c.heads), head_norm(s, k, w, "k_norm", c.kv_heads)
    if table is not None:
        q = s.emit("rope", q, table, name="q_rope", heads=c.heads, style=s.rope_style)
        k = s.emit("rope", k, table, name="k_rope", heads=c.kv_heads, style=s.rope_style)
    s.windowed = s.windowed or reach > 0
    s.kv = s.emit("kv_append", s.kv, k, v, name="kv", layer=0, kv_heads=c.kv_heads, head_dim=c.head_dim, fresh=True)
    of = {"layer": 0, "heads": c.heads, "kv_heads": c.kv_heads, "head_dim": c.head_dim, "scale": c.attention_scale}
    within = {"reach": reach} if reach else {}
    mixed = s.emit("attention_both", q, s.kv, s.positions, name="mixed", **of, **within)
    return linear(s, mixed, w, "attn.out", c.hidden, c.heads * c.head_dim)


def describe(checkpoint: Checkpoint, names: Mapping[str, str], width: int) -> Encoder:
    """What becomes of the states of a text's tokens. names: of its tensors."""
    return Encoder(width, *pooling(checkpoint), segments=segments(checkpoint, names))


def segments(checkpoint: Checkpoint, names: Mapping[str, str]) -> int:
    """Segments that a model tells apart: rows of their embedding."""
    table = checkpoint.tensors.get(names.get("segments", ""))
    return table.shape[0] if table else 0


def add_segments(b: Builder, w: Weights, x: Value, hidden: int) -> Value:
    """x [T, C] plus the embedding of each token's segment, where the model has one."""
    count = segments(w.checkpoint, w.names)
    if not count:
        return x
    table = w.matrix("segments", count, hidden)
    return b.emit("add", x, b.emit("embedding", b.input("segments", SEGMENTS), table, name="segment"), name="x")


def pooling(checkpoint: Checkpoint) -> tuple[str, bool]:
    """(pooling, normalize) of a checkpoint.

    GGUF says the one by pooling_type, and the engine it was made for normalises what is pooled. Hugging Face directories say both
    in sentence-transformers' modules.json. Where nothing is said: the mean, as sentence-transformers has it, as it is.
    """
    if isinstance(checkpoint, HuggingFace):
        return _of_modules(checkpoint.folder)
    key = f"{checkpoint.architecture}.pooling_type"
    kind = checkpoint.integer(key, 0, 4, None)
    if kind == 4:
        return "cls", False
    return ("mean", False) if kind is None else (POOLING_TYPES[kind], kind != 0)


def _of_modules(folder: Path) -> tuple[str, bool]:
    path = folder / MODULES
    if not path.exists():
        return "mean", False
    modules = read_json_array(path, MAX_JSON)
    kinds = [_kind(module) for module in modules]
    known = {"Transformer", "Pooling", "Normalize"}
    if not set(kinds) <= known or kinds[:2] != ["Transformer", "Pooling"]:
        what = f"{MODULES}: modules {quoted(' '.join(kinds))}"
        raise UnsupportedModelError(f"{what}; llmc compiles Transformer, Pooling, Normalize")
    place = modules[1].get("path")
    if not isinstance(place, str) or place != Path(place).name:
        raise MalformedFileError(f"{MODULES}: the path of Pooling is {quoted(str(place))}, expected a folder's name")
    return _mode(read_json(folder / place / "config.json", MAX_JSON), f"{place}/config.json"), "Normalize" in kinds


def _kind(module: Any) -> str:
    kind = module.get("type") if isinstance(module, dict) else None
    if not isinstance(kind, str):
        raise MalformedFileError(f"{MODULES}: a module is no object with a type")
    return kind.rsplit(".", 1)[-1]


def _mode(config: Mapping[str, Any], name: str) -> str:
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if config.get("pooling_mode") in POOLING_TYPES:  # newer files
        return str(config["pooling_mode"])
    if len(modes) != 1 or modes[0] not in MODES:
        what = quoted(" ".join(modes) or "no pooling_mode")
        raise UnsupportedModelError(f"{name}: {what}; llmc can pool by {', '.join(MODES)}")
    return MODES[modes[0]]
