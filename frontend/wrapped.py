"""The language model inside a directory whose model also sees or hears.

Its keys are the object `text_config` of config.json. Its tensors lie under `model.language_model`, in older files under
`language_model.model`; what lies elsewhere belongs to the other senses, and is of no use to text. Beyond this file such a
directory is that of the language model alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from llmc.errors import MalformedFileError
from llmc.frontend.checkpoint import Tensor
from llmc.frontend.quantized import Linear

TEXT: Final = "text_config"
OUTER: Final = ("architectures", "auto_map", "quantization_config", "tie_word_embeddings")
"""Keys of the whole that are about the language model too; they go before its own."""

PLACES: Final = (
    ("model.language_model.", "model."), ("language_model.model.", "model."), ("language_model.lm_head.", "lm_head."),
    ("lm_head.", "lm_head."),
)  # fmt: skip
"""What names begin with in such a directory, and in one of the language model alone."""


def is_wrapped(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get(TEXT), dict)


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json would be in a directory of the language model alone."""
    return {**config[TEXT], **{key: config[key] for key in OUTER if config.get(key) is not None}}


def text_name(name: str) -> str | None:
    """What a tensor would be called there, None where it would not be."""
    return next((bare + name.removeprefix(prefix) for prefix, bare in PLACES if name.startswith(prefix)), None)


def text_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the language model by the names they have alone. Raises MalformedFileError where two would have one name."""
    named = [(text_name(name), tensor) for name, tensor in tensors.items()]
    kept = {name: _called(tensor, name) for name, tensor in named if name is not None}
    if len(kept) != sum(name is not None for name, _ in named):
        raise MalformedFileError("tensors of a language model lie both under model.language_model and under language_model")
    return kept


def text_linears(linears: Mapping[str, Linear]) -> dict[str, Linear]:
    """The quantised linears among them."""
    named = [(text_name(name), linear) for name, linear in linears.items()]
    return {name: replace(linear, tensor=_called(linear.tensor, name)) for name, linear in named if name is not None}


def _called(tensor: Tensor, name: str) -> Tensor:
    """The tensor under that name, and what lies beside it under theirs."""
    columns, scales = (text_name(each) if each else None for each in (tensor.columns, tensor.scales))
    return replace(tensor, name=name, columns=columns, scales=scales)
