"""Heads of classifiers and rerankers: what makes scores of labels of a pooled row.

    row [C] -> dense [C], a function -> norm -> scores [L]

Any of the first two may be missing. Families name the parts as they like in Hugging Face files, GGUF files have cls, cls.norm and
cls.output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.dialect import FUNCTIONS
from llmc.frontend.layers import Step, linear
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

GGUF_NAMES: Final = {"cls.dense": "cls.weight", "cls.norm": "cls.norm.weight", "cls.out": "cls.output.weight"}
MAX_LABELS: Final = 1 << 16
MAX_LABEL: Final = 1000  # bytes
POOLING_KEY: Final = "classifier_pooling"


@dataclass(frozen=True)
class Classifier:
    """names     the Hugging Face names of the parts: "cls.dense", "cls.norm", "cls.out"
    function  what follows the dense layer; function_key: the key of config.json that may name another
    pooling   of the states of a text's tokens: "cls", "last", "mean", or "late", the mean of what follows the dense layer
    poolings  what classifier_pooling of config.json may say, the default first, and what it means; empty: `pooling` it is
    """

    names: Mapping[str, str]
    function: str = "tanh"
    function_key: str = ""
    pooling: str = "cls"
    poolings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """A checkpoint's own: the names of its tensors, and as in Classifier. labels: in the order of the scores."""

    names: Mapping[str, str]
    function: str
    pooling: str
    labels: tuple[str, ...]


def read_head(checkpoint: Checkpoint, classifiers: Mapping[str, Classifier], prefix: str, *, causal: bool) -> Head | None:
    """The head of a classifier, None where the checkpoint is none.

    prefix: what the names of Hugging Face files begin with, but for files saved without it. Raises MalformedFileError or
    UnsupportedModelError naming the key or tensor.
    """
    if checkpoint.container == "gguf":
        return _gguf_head(checkpoint, classifiers, causal)
    classifier = classifiers.get(checkpoint.architecture)
    if classifier is None:
        return None
    names = _with_biases({name: _there(checkpoint, tensor, prefix) for name, tensor in classifier.names.items()})
    labels = _labels(checkpoint, names["cls.out"])
    return Head(names, _function(checkpoint, classifier), _pooling(checkpoint, classifier), labels)


def _there(checkpoint: Checkpoint, tensor: str, prefix: str) -> str:
    """A tensor's name in this file."""
    for name in (tensor, tensor.removeprefix(prefix)):
        if name in checkpoint.tensors:
            return name
    raise MalformedFileError(f"tensor {tensor} is missing, which {checkpoint.architecture} makes its scores with")


def _gguf_head(checkpoint: Checkpoint, classifiers: Mapping[str, Classifier], causal: bool) -> Head | None:
    """Files with a pooling of their own carry a head that nobody asks for."""
    kind = checkpoint.integer(f"{checkpoint.architecture}.pooling_type", 0, 4, None)
    names = {name: tensor for name, tensor in GGUF_NAMES.items() if tensor in checkpoint.tensors}
    last = "cls.out" if "cls.out" in names else "cls.dense"
    if kind not in (None, 4) or (kind is None and last not in names):
        return None
    if last not in names:
        what = f"{checkpoint.architecture}.pooling_type is 4 (scores of labels)"
        raise MalformedFileError(f"{what}, but tensor {GGUF_NAMES['cls.out']} is missing")
    function = next((classifier.function for classifier in classifiers.values()), "tanh")
    return Head(_with_biases(names), function, "last" if causal else "cls", _gguf_labels(checkpoint, names[last]))


def _with_biases(names: Mapping[str, str]) -> dict[str, str]:
    return {**names, **{f"{name}.bias": tensor.removesuffix("weight") + "bias" for name, tensor in names.items()}}


def _function(checkpoint: Checkpoint, classifier: Classifier) -> str:
    name = checkpoint.string(classifier.function_key, None) if classifier.function_key else None
    if name is None:
        return classifier.function
    if name not in HEAD_FUNCTIONS:
        known = ", ".join(HEAD_FUNCTIONS)
        what = f"{checkpoint.key_file}: {classifier.function_key} is {quoted(name)}"
        raise UnsupportedModelError(f"{what}; llmc can compile {known}")
    return HEAD_FUNCTIONS[name]


HEAD_FUNCTIONS: Final = {name: FUNCTIONS[name] for name in ("gelu", "gelu_pytorch_tanh", "gelu_new")} | {
    "tanh": "tanh", "relu": "relu"
}  # fmt: skip
"""Names of functions in config.json -> the op."""


def _pooling(checkpoint: Checkpoint, classifier: Classifier) -> str:
    if not classifier.poolings:
        return classifier.pooling
    name = checkpoint.string(POOLING_KEY, next(iter(classifier.poolings)))
    if name not in classifier.poolings:
        known = ", ".join(classifier.poolings)
        raise UnsupportedModelError(f"{checkpoint.key_file}: {POOLING_KEY} is {quoted(name)}; llmc can compile {known}")
    return classifier.poolings[name]


def _count(checkpoint: Checkpoint, name: str) -> int:
    """Scores that the last layer gives."""
    shape = checkpoint.tensors[name].shape
    if len(shape) != 2 or not 0 < shape[0] <= MAX_LABELS:
        raise MalformedFileError(f"tensor {name} has shape {list(shape)}, expected one row for each of 1 to {MAX_LABELS} labels")
    return shape[0]


def _labels(checkpoint: Checkpoint, last: str) -> tuple[str, ...]:
    """id2label of config.json, or as transformers calls labels without a name."""
    count = _count(checkpoint, last)
    stated = {key.removeprefix("id2label."): key for key in checkpoint.keys if key.startswith("id2label.")}
    if not stated:
        return tuple(f"LABEL_{i}" for i in range(count))
    if set(stated) != {str(i) for i in range(count)}:
        what = f"{checkpoint.key_file}: id2label names {len(stated)} labels"
        raise MalformedFileError(f"{what}, but tensor {last} has {count} rows, numbered from 0")
    return tuple(_checked(checkpoint, stated[str(i)], checkpoint.string(stated[str(i)])) for i in range(count))


def _gguf_labels(checkpoint: Checkpoint, last: str) -> tuple[str, ...]:
    count, key = _count(checkpoint, last), f"{checkpoint.architecture}.classifier.output_labels"
    labels = checkpoint.strings(key, None)
    if labels is None:
        return tuple(f"LABEL_{i}" for i in range(count))
    if len(labels) != count:
        raise MalformedFileError(f"{key} names {len(labels)} labels, but tensor {last} has {count} rows")
    return tuple(_checked(checkpoint, key, label) for label in labels)


def _checked(checkpoint: Checkpoint, key: str, label: str) -> str:
    try:
        size = len(label.encode())
    except UnicodeEncodeError:
        raise checkpoint.wrong(key, "holds half of a surrogate pair") from None
    if "\0" in label or size > MAX_LABEL:
        raise checkpoint.wrong(key, f"holds a label with a zero byte, or of more than {MAX_LABEL} bytes")
    return label


def activated(s: Step, x: Value, function: str, name: str) -> Value:
    """function(x); tanh is a cap of 1."""
    return s.emit("softcap", x, name=name, cap=1.0) if function == "tanh" else s.emit(function, x, name=name)


def dense(s: Step, x: Value, w: Weights, head: Head) -> Value:
    """x [N, C] -> [N, C]: what comes before the scores, where the head has it."""
    if "cls.dense" not in head.names:
        return x
    rows = w.checkpoint.tensors[head.names["cls.dense"]].shape[0]
    x = activated(s, linear(s, x, w, "cls.dense", rows, int(x.type.shape[-1])), head.function, "cls.dense")
    if "cls.norm" not in head.names:
        return x
    weight, bias = w.vector("cls.norm", rows), w.optional_vector("cls.norm.bias", rows)
    return s.emit("layer_norm", x, weight, *([] if bias is None else [bias]), name="cls.norm", eps=s.config.norm_eps)


def scores(s: Step, x: Value, w: Weights, head: Head) -> Value:
    """x [N, C] -> [N, L]. A head of one layer has given them already."""
    return linear(s, x, w, "cls.out", len(head.labels), int(x.type.shape[-1])) if "cls.out" in head.names else x
