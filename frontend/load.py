"""From a file to everything the compiler needs to know about the model: graph, config, tokenizer tables.

Nothing here imports TVM; a file that is going to be refused is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend import arch as architectures
from llmc.frontend.arch import Architecture
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.config import Config, read_config
from llmc.frontend.gguf import read_gguf
from llmc.frontend.layers import Step, rms_norm
from llmc.frontend.rope import frequencies
from llmc.frontend.tokenizer import compile_tokenizer
from llmc.frontend.weights import Weights
from llmc.ir.graph import Builder, Graph, Value
from llmc.ir.ops import INPUT_TYPES
from llmc.ir.quant import dequantize
from llmc.ir.types import TensorType

STEP_TOKENS = 128
TEMPLATE_KEY = "tokenizer.chat_template"
MAX_TEMPLATE = 1 << 20
MODEL_NAMES = {
    "embedding": "token_embd.weight",
    "norm": "output_norm.weight",
    "head": "output.weight",
    "rope_factors": "rope_freqs.weight",
}


@dataclass(frozen=True)
class Model:
    """A checkpoint understood: `graph` computes one step (DESIGN D7); weights are fetched from `checkpoint` by name."""

    checkpoint: Checkpoint
    architecture: Architecture
    config: Config
    vocab: int
    graph: Graph
    tokenizer: bytes
    chat_template: str | None

    @property
    def name(self) -> str:
        """What the checkpoint calls itself, or its file's name."""
        return self.checkpoint.string("general.name", default="") or self.checkpoint.path.stem


def open_model(path: Path, *, pre: str | None = None) -> Model:
    """Reads and checks a checkpoint and builds its graph.

    Raises MalformedFileError (the file contradicts itself) or UnsupportedModelError (llmc cannot compile it), naming the key
    or the tensor.
    """
    checkpoint = read_gguf(path)
    known = architectures.find()
    if checkpoint.architecture not in known:
        raise UnsupportedModelError(
            f"general.architecture is {quoted(checkpoint.architecture)}, which llmc cannot compile",
            hint="known architectures: " + ", ".join(sorted(known)),
        )
    architecture = known[checkpoint.architecture]
    config = read_config(checkpoint)
    template = _chat_template(checkpoint)
    vocab = _vocabulary(checkpoint)
    tokenizer = compile_tokenizer(checkpoint, pre)
    graph = build(checkpoint, architecture, config, vocab)
    return Model(checkpoint, architecture, config, vocab, graph, tokenizer, template)


def build(checkpoint: Checkpoint, architecture: Architecture, config: Config, vocab: int) -> Graph:
    """The step function: tokens, positions, rows wanted, cache -> logits of those rows, cache."""
    b = Builder({"T": STEP_TOKENS, "R": STEP_TOKENS})
    tokens, positions, rows, cache = (b.input(name, type) for name, type in INPUT_TYPES.items())
    w = Weights(b, checkpoint, {**MODEL_NAMES, **architecture.weights})
    _refuse_missing(w, config)
    s = Step(b, config, positions, _rope_table(b, w, config, positions), architecture.rope, cache)
    embedding = w.matrix("embedding", vocab, config.hidden)
    x = b.emit("embedding", tokens, embedding, name="x")
    if config.embedding_scale != 1.0:
        x = b.emit("scale", x, name="x", factor=config.embedding_scale)
    for layer in range(config.layers):
        s.layer = layer
        x = architecture.block(s, x, w.at(layer))
    logits = _head(s, w, b.emit("take_rows", x, rows, name="last"), embedding, vocab)
    _refuse_unused(w, config)
    return b.graph(logits, s.kv)


def _head(s: Step, w: Weights, x: Value, embedding: Value, vocab: int) -> Value:
    """Final norm and logits [R, V]; without an output matrix the embedding serves (tied)."""
    c = s.config
    matrix = w.matrix("head", vocab, c.hidden) if w.has("head") else embedding
    x = rms_norm(s, x, w.vector("norm", c.hidden), name="output_norm")
    logits = s.builder.emit("matmul", x, s.builder.emit("dequantize", matrix, name="head.f32"), name="logits")
    return logits if c.logit_scale == 1.0 else s.builder.emit("scale", logits, name="logits", factor=1.0 / c.logit_scale)


def _rope_table(b: Builder, w: Weights, config: Config, positions: Value) -> Value | None:
    """cos and sin of every token's position, shared by all layers; the checkpoint's factors divide the frequencies."""
    if config.rope_dims == 0:
        return None
    values, scale = frequencies(config.rope_dims, config.rope_base, config.rope_scaling)
    freqs = b.constant("rope_freqs", values)
    if w.has("rope_factors"):
        factors = w.vector("rope_factors", config.rope_dims // 2).type
        freqs = b.emit("div", freqs, b.constant("rope_factors", _factors(w, factors)), name="rope_freqs")
    return b.emit("rope_table", positions, freqs, name="rope_table", scale=scale)


def _factors(w: Weights, type: TensorType) -> np.ndarray:
    tensor = w.checkpoint.tensors[MODEL_NAMES["rope_factors"]]
    values = dequantize(tensor.format, w.checkpoint.data(tensor.name))
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise MalformedFileError(f"tensor {tensor.name} holds a factor that is not a positive number")
    return values


def _chat_template(checkpoint: Checkpoint) -> str | None:
    """The Jinja text, carried along unread."""
    template = checkpoint.string(TEMPLATE_KEY, default=None)
    if template is not None and len(template.encode()) > MAX_TEMPLATE:
        raise checkpoint.wrong(TEMPLATE_KEY, f"is longer than {MAX_TEMPLATE} bytes")
    return template


def _vocabulary(checkpoint: Checkpoint) -> int:
    """Rows of the embedding; must be the tokenizer's size."""
    name = MODEL_NAMES["embedding"]
    if name not in checkpoint.tensors or len(checkpoint.tensors[name].shape) != 2:
        raise MalformedFileError(f"tensor {name} is missing or not a matrix")
    rows = checkpoint.tensors[name].shape[0]
    tokens = len(checkpoint.strings("tokenizer.ggml.tokens")) if "tokenizer.ggml.tokens" in checkpoint.keys else rows
    if tokens != rows:
        raise MalformedFileError(f"tensor {name} has {rows} rows, but tokenizer.ggml.tokens has {tokens} tokens")
    return rows


def _refuse_missing(w: Weights, config: Config) -> None:
    """Lists every tensor a layer cannot do without, all at once."""
    always = [name for name in w.names if not name.endswith(".bias")]
    per_layer = [name for name in always if "{i}" in w.names[name]]
    missing = [w.names[name].format(i=i) for i in range(config.layers) for name in per_layer if not w.at(i).has(name)]
    missing += [w.names[name] for name in ("embedding", "norm") if not w.has(name)]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise MalformedFileError(f"missing tensors: {shown}")


def _refuse_unused(w: Weights, config: Config) -> None:
    """A tensor nobody asked for would change the result if it meant something: refuse it."""
    unused = sorted(w.checkpoint.tensors.keys() - w.used)
    if unused:
        shown = ", ".join(map(repr, unused[:8])) + (f" and {len(unused) - 8} more" if len(unused) > 8 else "")
        arch = w.checkpoint.architecture
        raise MalformedFileError(f"tensors no layer of architecture {arch} with {arch}.block_count {config.layers} uses: {shown}")
