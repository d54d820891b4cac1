"""From a file to everything the compiler needs to know about the model: graph, config, tokenizer tables.

Nothing here imports TVM; a file that is going to be refused is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend import arch as architectures
from llmc.frontend.arch import ALWAYS, Architecture
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.config import Config, Keys
from llmc.frontend.encoder import MAX_STEP, add_segments
from llmc.frontend.gguf import read_gguf
from llmc.frontend.huggingface import HuggingFace, is_model_directory, read_huggingface
from llmc.frontend.layers import Step, norm, reordered
from llmc.frontend.results import Encoder, Results, describe, finish
from llmc.frontend.rope import RopeScaling, frequencies
from llmc.frontend.tokenizer import compile_tokenizer, compile_vocabulary
from llmc.frontend.tokenizer_huggingface import chat_template, read_huggingface_vocabulary
from llmc.frontend.tokenizer_vocabulary import MAX_TOKENS
from llmc.frontend.user_architecture import check_architecture, read_architecture
from llmc.frontend.weights import Factor, Weights
from llmc.ir.graph import Builder, Graph, Value
from llmc.ir.ops import CONTEXT, INPUT_TYPES
from llmc.ir.quant import dequantize

STEP_TOKENS = 128
GPU_STEP_TOKENS = 1024  # fill a large device where a matrix is narrow; weights are read once for all of them
TEMPLATE_KEY = "tokenizer.chat_template"
MAX_TEMPLATE = 1 << 20
OUTPUT = (r"lm_head\..*", r"output\.(weight|bias)", r"cls\..*")  # of no use where nothing is generated and nothing scored
SINGLE_EXPERT = re.compile(r"blk\.\d+\.ffn_(gate|up|down)\.\d+\.")


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
    encoder: Encoder | None = None

    @property
    def name(self) -> str:
        """What the checkpoint calls itself, or its file's name."""
        path = self.checkpoint.path
        return self.checkpoint.string("general.name", default="") or (path.resolve().name if path.is_dir() else path.stem)


def open_model(path: Path, *, pre: str | None = None, arch: Path | None = None) -> Model:
    """Reads and checks a checkpoint and builds its graph. arch: a file of the user's own (user_architecture.py).

    Raises MalformedFileError (the file contradicts itself) or UnsupportedModelError (llmc cannot compile it), naming the key
    or the tensor.
    """
    checkpoint = read_checkpoint(path)
    architecture = find_architecture(checkpoint) if arch is None else _of_user(checkpoint, arch)
    if isinstance(checkpoint, HuggingFace):
        checkpoint = architecture.shown(checkpoint)
    config = architecture.config(checkpoint)
    if isinstance(checkpoint, HuggingFace):
        checkpoint = architecture.restored(checkpoint, config)
    checkpoint = checkpoint.showing(architecture.views(checkpoint, config))
    template = _chat_template(checkpoint)
    vocab = _vocabulary(checkpoint, architecture)
    tokenizer = _tokenizer(checkpoint, vocab, pre)
    results = describe(checkpoint, architecture, config)
    graph = build(checkpoint, architecture, config, vocab, results)
    return Model(checkpoint, architecture, config, vocab, graph, tokenizer, template, results.encoder if results else None)


def read_checkpoint(path: Path) -> Checkpoint:
    """Opens a GGUF file or a Hugging Face directory. Raises what their readers raise."""
    if path.is_dir() and not is_model_directory(path):
        raise MalformedFileError(f"{path.name}: a directory without a config.json")
    return read_huggingface(path) if path.is_dir() else read_gguf(path)


def find_architecture(checkpoint: Checkpoint) -> Architecture:
    """The family of a checkpoint. Raises UnsupportedModelError where llmc does not know it."""
    known = architectures.find() if checkpoint.container == "gguf" else architectures.by_class()
    if checkpoint.architecture not in known:
        what = f"{checkpoint.key_file}: {checkpoint.architecture_key} is {quoted(checkpoint.architecture)}"
        raise UnsupportedModelError(f"{what}, which llmc cannot compile", hint="known architectures: " + ", ".join(sorted(known)))
    return known[checkpoint.architecture]


def _of_user(checkpoint: Checkpoint, path: Path) -> Architecture:
    architecture = read_architecture(path)
    check_architecture(architecture, checkpoint, path)
    return architecture


def step_tokens(architecture: Architecture, config: Config) -> int:
    """Tokens of the largest step. An encoder's holds whole texts."""
    return min(config.context, MAX_STEP) if architecture.encoder else STEP_TOKENS


def for_gpu(graph: Graph) -> Graph:
    """The graph with room for a GPU's larger steps."""
    return replace(graph, bounds={dim: max(bound, GPU_STEP_TOKENS) for dim, bound in graph.bounds.items()})


def build(
    checkpoint: Checkpoint, architecture: Architecture, config: Config, vocab: int, results: Results | None = None
) -> Graph:
    """The step function: tokens, positions, rows wanted, cache -> logits of those rows, or the `results` of a model that does not
    generate; cache."""
    b = Builder(dict.fromkeys(("T", "R"), step_tokens(architecture, config)))
    tokens, positions, rows, cache = (b.input(name, type) for name, type in INPUT_TYPES.items())
    container = checkpoint.container
    w = Weights(b, checkpoint, architecture.names(checkpoint, experts=config.experts is not None))
    _check_experts(w, architecture, config)
    _check_recurrent(w, architecture, config)
    _refuse_missing(w, architecture, config)
    if container != "gguf":
        if results is None:
            _check_head(w, architecture)
        _check_biases(w, architecture, config)
    table = _rope_table(b, w, config, positions)
    s = Step(b, config, positions, table, architecture.rope_style(container), cache, norm=architecture.norm)
    s.most_tokens = step_tokens(architecture, config)
    s.local_rope_table = _local_rope_table(b, config, positions) or table
    embedding = w.matrix("embedding", vocab, config.hidden)
    x = b.emit("embedding", tokens, embedding, name="x")
    if config.embedding_scale != 1.0:
        x = b.emit("scale", x, name="x", factor=config.embedding_scale)
    if "positions" in w.names:
        learned = b.emit("embedding", positions, w.matrix("positions", config.context, config.hidden), name="position")
        x = b.emit("add", x, learned, name="x")
    x = add_segments(b, w, x, config.hidden)
    if "embedding.norm" in w.names:
        x = norm(s, x, w, "embedding.norm")
    if config.slopes:
        s.slopes = b.constant("slopes", np.array(config.slopes, np.float32))
    x = architecture.enter(s, x, tokens, w)
    for layer in range(config.layers):
        s.layer, s.config = layer, config.of_layer(layer)
        x = architecture.block(s, x, w.at(layer))
    x = architecture.leave(s, x, w)
    if results is None:
        logits = _head(s, w, b.emit("take_rows", x, rows, name="last"), embedding, vocab)
    else:
        logits = finish(s, w, x, rows, results)
    _refuse_unused(w, architecture, config, beside=OUTPUT if results else ())
    if config.window and not s.windowed:
        key = Keys(checkpoint).name("window")
        raise UnsupportedModelError(f"{key} is {config.window}; llmc compiles {architecture.gguf} without windows")
    return b.graph(logits, s.kv)


def _head(s: Step, w: Weights, x: Value, embedding: Value, vocab: int) -> Value:
    """Final norm and logits [R, V]; without an output matrix the embedding serves (tied)."""
    c = s.config
    head = w.factor("head", vocab, c.hidden) if w.has("head") else Factor(embedding, None, None)
    x = reordered(s, norm(s, x, w, "norm"), head.order)
    logits = s.builder.emit("matmul", x, s.builder.emit("dequantize", head.weight, name="head.f32"), name="logits")
    if head.scales is not None:
        logits = s.builder.emit("scale_columns", logits, head.scales, name="logits")
    bias = w.optional_vector("head.bias", vocab)
    if bias is not None:
        logits = s.builder.emit("add_bias", logits, bias, name="logits")
    if c.logit_scale != 1.0:
        logits = s.builder.emit("scale", logits, name="logits", factor=1.0 / c.logit_scale)
    return s.builder.emit("softcap", logits, name="logits", cap=c.logit_softcap) if c.logit_softcap else logits


def _rope_table(b: Builder, w: Weights, config: Config, positions: Value) -> Value | None:
    """cos and sin of every token's position, shared by all layers; the checkpoint's factors divide the frequencies."""
    if config.rope_dims == 0:
        return None
    scaling = config.rope_scaling
    values, scale = frequencies(config.rope_dims, config.rope_base, scaling)
    freqs = b.constant("rope_freqs", values)
    if scaling.kind == "longrope":
        short, long = _longrope(b, w, scaling, freqs)
        context, original = b.input("context", CONTEXT), scaling.original_context
        return b.emit("rope_table", positions, short, long, context, name="rope_table", scale=scale, original_context=original)
    if w.has("rope_factors"):
        freqs = _divided(b, w, freqs, "rope_factors")
    return b.emit("rope_table", positions, freqs, name="rope_table", scale=scale)


def _local_rope_table(b: Builder, config: Config, positions: Value) -> Value | None:
    """The same for layers with a window where these have a base of their own: they keep the trained positions."""
    if not config.local_rope_base or not config.rope_dims:
        return None
    values, _ = frequencies(config.local_rope_dims or config.rope_dims, config.local_rope_base, RopeScaling())
    return b.emit("rope_table", positions, b.constant("rope_freqs.local", values), name="rope_table.local", scale=1.0)


def _longrope(b: Builder, w: Weights, scaling: RopeScaling, freqs: Value) -> tuple[Value, Value]:
    """Frequencies [P] for short and for long contexts: divided by the config's factors, or by tensors where it has none."""
    if not scaling.short:
        return _divided(b, w, freqs, "rope_factors.short"), _divided(b, w, freqs, "rope_factors.long")
    sets = {"short": scaling.short, "long": scaling.long}
    factors = [b.constant(f"rope_factors.{name}", np.array(values, np.float32)) for name, values in sets.items()]
    short, long = (b.emit("div", freqs, values, name="rope_freqs") for values in factors)
    return short, long


def _divided(b: Builder, w: Weights, freqs: Value, name: str) -> Value:
    """Frequencies [P] divided by a tensor of factors."""
    w.vector(name, int(freqs.type.shape[0]))  # is there, and has this shape
    return b.emit("div", freqs, b.constant(name, _factors(w, name)), name="rope_freqs")


def _factors(w: Weights, name: str) -> np.ndarray:
    tensor = w.checkpoint.tensors[w.names[name]]
    values = dequantize(tensor.format, w.checkpoint.data(tensor.name))
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise MalformedFileError(f"tensor {tensor.name} holds a factor that is not a positive number")
    return values


def _tokenizer(checkpoint: Checkpoint, vocab: int, pre: str | None) -> bytes:
    """The compiled tokenizer."""
    if isinstance(checkpoint, HuggingFace):
        return compile_vocabulary(read_huggingface_vocabulary(checkpoint.folder, vocab, pre))
    return compile_tokenizer(checkpoint, pre)


def _chat_template(checkpoint: Checkpoint) -> str | None:
    """The Jinja text, carried along unread."""
    if isinstance(checkpoint, HuggingFace):
        return chat_template(checkpoint.folder)
    template = checkpoint.string(TEMPLATE_KEY, default=None)
    if template is not None and len(template.encode()) > MAX_TEMPLATE:
        raise checkpoint.wrong(TEMPLATE_KEY, f"is longer than {MAX_TEMPLATE} bytes")
    return template


def _vocabulary(checkpoint: Checkpoint, architecture: Architecture) -> int:
    """Rows of the embedding; must be the tokenizer's size."""
    name = architecture.names(checkpoint)["embedding"]
    if name not in checkpoint.tensors or len(checkpoint.tensors[name].shape) != 2:
        raise MalformedFileError(f"tensor {name} is missing or not a matrix")
    rows = checkpoint.tensors[name].shape[0]
    if checkpoint.container != "gguf":
        if checkpoint.integer("vocab_size", 1, MAX_TOKENS) != rows:
            raise MalformedFileError(f"tensor {name} has {rows} rows, but vocab_size is {checkpoint.keys['vocab_size']}")
        return rows
    tokens = len(checkpoint.strings("tokenizer.ggml.tokens")) if "tokenizer.ggml.tokens" in checkpoint.keys else rows
    if tokens != rows:
        raise MalformedFileError(f"tensor {name} has {rows} rows, but tokenizer.ggml.tokens has {tokens} tokens")
    return rows


def _check_head(w: Weights, architecture: Architecture) -> None:
    """The output matrix is there unless the config ties it to the embedding."""
    if not w.checkpoint.flag("tie_word_embeddings", architecture.dialect.tied) and not w.has("head"):
        raise MalformedFileError(f"missing tensors: {w.names['head']}, and tie_word_embeddings is not set")


def _check_biases(w: Weights, architecture: Architecture, config: Config) -> None:
    """A weight has a bias in every layer where the config says so, and in none otherwise."""
    flags = architecture.hf_biases
    wanted = {name for flag in flags if flag == ALWAYS or w.checkpoint.flag(flag, False) for name in flags[flag]}
    for name in (name.removesuffix(".bias") for name in w.names if name.endswith(".bias")):
        for layer in (i for i in range(config.layers) if architecture.belongs(name, config, i)):
            absent = name in architecture.variant and not w.at(layer).has(name)
            if w.at(layer).has(f"{name}.bias") != (name in wanted and not absent):
                says = next((flag for flag in flags if flag and name in flags[flag]), "the architecture")
                tensor, there = w.names[f"{name}.bias"].format(i=layer), "missing" if name in wanted else "there"
                raise MalformedFileError(f"tensor {tensor} is {there}, against what {says} says")


def _check_experts(w: Weights, architecture: Architecture, config: Config) -> None:
    """Experts are in a family that has them, all experts of a matrix in one tensor."""
    if config.experts and not architecture.experts:
        key = Keys(w.checkpoint).name("experts")
        raise UnsupportedModelError(f"{key} is {config.experts.count}: llmc cannot compile {architecture.gguf} with experts")
    for name in w.checkpoint.tensors if config.experts else ():
        if SINGLE_EXPERT.match(name):
            hint = "files made before April 2024 store them so; convert the model again"
            raise UnsupportedModelError(f"tensor {name} holds a single expert; llmc reads all experts from one tensor", hint=hint)


def _check_recurrent(w: Weights, architecture: Architecture, config: Config) -> None:
    """Layers without keys and values are in a family that has such."""
    if any(config.recurrent) and not architecture.recurrent:
        layer, key = config.recurrent.index(True), Keys(w.checkpoint).name("kv_heads")
        what = f"{key} is 0 for layer {layer}"
        raise UnsupportedModelError(f"{what}: llmc cannot compile {architecture.gguf} with recurrent layers")


def _refuse_missing(w: Weights, architecture: Architecture, config: Config) -> None:
    """Lists every tensor a layer cannot do without, all at once."""
    there = {name for name, flag in architecture.variant.items() if _is_variant(w, name, flag, config)}
    absent = {*architecture.optional, *architecture.variant} - there
    always = [name for name in w.names if not name.endswith(".bias") and name not in absent]
    per_layer = [(i, name) for i in range(config.layers) for name in always if "{i}" in w.names[name]]
    needed = [(i, name) for i, name in per_layer if architecture.belongs(name, config, i)]
    missing = [w.names[name].format(i=i) for i, name in needed if not w.at(i).has(name)]
    missing += [w.names[name] for name in ("embedding", "embedding.norm", "norm") if name in w.names and not w.has(name)]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise MalformedFileError(f"missing tensors: {shown}")


def _is_variant(w: Weights, name: str, flag: str, config: Config) -> bool:
    """Whether a tensor is to be in every layer: as the flag of config.json says, or because some layer has it."""
    there = any(w.at(i).has(name) for i in range(config.layers))
    if w.checkpoint.container == "gguf" or not flag:
        return there
    says = w.checkpoint.flag(flag, False)
    if there and not says:
        raise MalformedFileError(f"tensor {w.names[name].format(i=0)} is there, against what {flag} says")
    return says


def _refuse_unused(w: Weights, architecture: Architecture, config: Config, beside: Sequence[str] = ()) -> None:
    """A tensor nobody asked for would change the result if it meant something: refuse it. Layers behind the last that predict
    further tokens mean nothing for the next one.
    """
    beyond = range(config.layers, config.layers + Keys(w.checkpoint).predicting)
    ahead = tuple(prefix.format(i=i) for prefix in ("blk.{i}.", "model.layers.{i}.") for i in beyond)
    known = [re.compile(pattern) for pattern in (*architecture.unused, *beside)]
    left = (name for name in w.checkpoint.tensors.keys() - w.used if not name.startswith(ahead or "\0"))
    unused = sorted(name for name in left if not any(pattern.fullmatch(name) for pattern in known))
    if unused:
        shown = ", ".join(map(repr, unused[:8])) + (f" and {len(unused) - 8} more" if len(unused) > 8 else "")
        arch, layers = w.checkpoint.architecture, Keys(w.checkpoint).name("layers")
        raise MalformedFileError(f"tensors no layer of architecture {arch} with {layers} {config.layers} uses: {shown}")
