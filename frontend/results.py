"""What becomes of the states of a text's tokens, where a model does not generate: embeddings, or scores of labels.

    states [T, C] -> norm -> pooled [R, C] -> dense layers or a classifier's head -> results [R, W]

Pooling is the runtime's where nothing follows it: rows of results are then states of tokens, and a caller may pool as he likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.arch import BARE, SCORING, Architecture
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.classifier import Classifier, Head, activated, dense, read_head, scores
from llmc.frontend.config import Config
from llmc.frontend.encoder import segments
from llmc.frontend.huggingface import HuggingFace
from llmc.frontend.layers import Step, linear, norm
from llmc.frontend.sentence_transformers import Dense, Modules, read_modules
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

POOLING_TYPES: Final = ("none", "mean", "cls", "last")  # of GGUF's pooling_type, by number; 4: scores of labels
GGUF_DENSE: Final = ("dense_2", "dense_3")  # sentence-transformers' modules of these numbers
LAST_TOKEN: Final = Classifier({"cls.out": "score.weight"}, pooling="last")  # of decoders
MEAN_ROWS: Final = ("mean", "late")


@dataclass(frozen=True)
class Encoder:
    """width      of a row of results
    pooling    what a caller gets who asks for nothing else: "none", "mean", "cls", "last", or "rank", scores of labels
    normalize  whether pooled rows are brought to length 1
    segments   how many the model tells apart, 0 where it does not
    causal     whether tokens see those before them alone
    pooled     how the model pools before layers that follow: "cls", "last", "mean"; "" where none follow
    labels     of the scores
    """

    width: int
    pooling: str
    normalize: bool
    segments: int
    causal: bool
    pooled: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """How the graph ends: the runtime's facts, and the layers after pooling with the names of their tensors."""

    encoder: Encoder
    head: Head | None
    dense: tuple[Dense, ...]
    names: Mapping[str, str]


def describe(checkpoint: Checkpoint, architecture: Architecture, config: Config) -> Results | None:
    """What a model makes of a text, None where it generates. Raises MalformedFileError or UnsupportedModelError by name."""
    causal = not architecture.encoder
    told = segments(checkpoint, architecture.names(checkpoint))
    classifiers = dict(architecture.classifiers)
    if causal and checkpoint.architecture.endswith(SCORING):
        classifiers.setdefault(checkpoint.architecture, LAST_TOKEN)
    head = read_head(checkpoint, classifiers, architecture.hf_prefix, causal=causal)
    if head is not None:
        pooled = "mean" if head.pooling in MEAN_ROWS else head.pooling
        encoder = Encoder(len(head.labels), "rank", False, told, causal, pooled, head.labels)
        return _checked(Results(encoder, head, (), head.names), checkpoint)
    modules = _modules(checkpoint)
    if causal and (modules is None or modules.pooling == "none") and not _is_bare(checkpoint):
        return None
    modules = modules or Modules("mean", (), False)  # as sentence-transformers has it where nothing is said
    layers = modules.dense
    width = layers[-1].rows if layers else config.hidden
    encoder = Encoder(width, modules.pooling, modules.normalize, told, causal, modules.pooling if layers else "")
    names = {f"dense.{i}": f"{layer.folder}.linear.weight" for i, layer in enumerate(layers)}
    if checkpoint.container == "gguf":
        names = {f"dense.{i}": f"{layer.folder}.weight" for i, layer in enumerate(layers)}
    names |= {f"{name}.bias": tensor.removesuffix("weight") + "bias" for name, tensor in names.items()}
    return _checked(Results(encoder, None, layers, names), checkpoint)


def _is_bare(checkpoint: Checkpoint) -> bool:
    """Whether it is a decoder without its output matrix."""
    return checkpoint.container != "gguf" and checkpoint.architecture.endswith(BARE) and "LMHead" not in checkpoint.architecture


def _checked(results: Results, checkpoint: Checkpoint) -> Results:
    """The mean of a text that is read in several steps is known to the runtime alone."""
    if results.encoder.causal and results.encoder.pooled == "mean":
        what = f"{checkpoint.key_file}: layers after the mean of a text's states"
        raise UnsupportedModelError(f"{what}; llmc compiles them for encoders, whose tokens see each other on both sides")
    return results


def _modules(checkpoint: Checkpoint) -> Modules | None:
    """What sentence-transformers' modules do, or what GGUF's keys say of them: that what is pooled is normalised goes without."""
    if isinstance(checkpoint, HuggingFace):
        return read_modules(checkpoint.folder)
    kind = checkpoint.integer(f"{checkpoint.architecture}.pooling_type", 0, 4, None)
    if not kind:
        return None if kind is None else Modules("none", (), False)
    layers = [_gguf_dense(checkpoint, name) for name in GGUF_DENSE if f"{name}.weight" in checkpoint.tensors]
    return Modules(POOLING_TYPES[kind], tuple(layers), True)


def _gguf_dense(checkpoint: Checkpoint, name: str) -> Dense:
    shape = checkpoint.tensors[f"{name}.weight"].shape
    if len(shape) != 2:
        raise MalformedFileError(f"tensor {name}.weight has shape {list(shape)}, expected a matrix")
    return Dense(name, shape[1], shape[0], False, "")


def finish(s: Step, w: Weights, x: Value, rows: Value, results: Results) -> Value:
    """The states x [T, C] after the last layer -> results [R, W]."""
    own = Weights(w.builder, w.checkpoint, results.names, used=w.used)
    mean = results.encoder.pooled == "mean"
    x = _states(s, w, x if mean else s.builder.emit("take_rows", x, rows, name="last"))
    if results.head is not None:
        return _scores(s, own, x, rows, results.head)
    if mean:
        x = s.builder.emit("mean_rows", x, rows, s.positions, name="mean")
    for i, layer in enumerate(results.dense):
        x = _dense(s, own, x, f"dense.{i}", layer)
    return x


def _states(s: Step, w: Weights, x: Value) -> Value:
    """Normalised where the family does so after the last layer."""
    return norm(s, x, w, "norm") if "norm" in w.names else x


def _scores(s: Step, w: Weights, x: Value, rows: Value, head: Head) -> Value:
    """Where the scores of all tokens are meant ("late"), the mean is taken of what they are a linear function of."""
    late = head.pooling == "late"
    if late:
        x = dense(s, x, w, head)
    if head.pooling in MEAN_ROWS:
        x = s.builder.emit("mean_rows", x, rows, s.positions, name="mean")
    return scores(s, x if late else dense(s, x, w, head), w, head)


def _dense(s: Step, w: Weights, x: Value, name: str, layer: Dense) -> Value:
    if w.has(f"{name}.bias") != layer.bias:
        state = "missing" if layer.bias else "there"
        raise MalformedFileError(f"tensor {w.names[f'{name}.bias']} is {state}, against what its config.json says")
    width = int(x.type.shape[-1])
    if layer.columns != width:
        raise MalformedFileError(f"{layer.folder} takes rows of {layer.columns}, but what comes before gives {width}")
    y = linear(s, x, w, name, layer.rows, width)
    return activated(s, y, layer.function, name) if layer.function else y
