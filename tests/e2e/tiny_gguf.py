"""The random models of tiny_transformers.py as GGUF files, by the conventions of llama.cpp's converters.

    path = write(tiny, "qwen35", convert=..., keys={...})

Names are those of the gguf package's own table for the architecture; what a converter does to the numbers is said by `convert`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from llmc.frontend.tokenizer import ALPHABET
from tests.e2e.tiny_transformers import VOCAB, Tiny

Array = NDArray[np.float32]
Named = Iterable[tuple[str, Array]]
Convert = Callable[[str, Array], Named]
"""A tensor of transformers, by name -> the tensors that a converter makes of it, by names of transformers or, whole, of GGUF."""


def as_it_is(name: str, value: Array) -> Named:
    yield name, value


def write(
    tiny: Tiny, family: str, *, keys: Mapping[str, Any], convert: Convert = as_it_is, without: tuple[str, ...] = (),
    stored: bool = False,
) -> Path:  # fmt: skip
    """model.gguf beside the directory: every tensor of the module in f32, `keys` under the family's prefix ("/key" under none),
    but those of `without`. stored: tensors are those of the directory's file, whose names can be others than the module's."""
    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family)
    config = copy(tiny.model.config.get_text_config())
    config.allow_global_per_layer_attribute_access = True  # what layers differ in is said by `keys`
    path = tiny.folder.with_suffix(".gguf")
    writer = gguf.GGUFWriter(path, family)
    stated = {name: value for name, value in {**_sizes(config), **keys}.items() if name not in without and value is not None}
    for name, value in stated.items():
        _add(writer, name[1:] if name.startswith("/") else f"{family}.{name}", value)
    _add_tokenizer(writer)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    of_file = (pair for name, value in load_file(tiny.folder / "model.safetensors").items() for pair in convert(name, value))
    for name, value in of_file if stored else tensors(tiny, convert):
        writer.add_tensor(_gguf_name(names, name), np.ascontiguousarray(value))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


def tensors(tiny: Tiny, convert: Convert) -> Named:
    """The module's parameters as a converter sees them; an output matrix that is the embedding is left out."""
    stored = {name: p.detach().float().numpy() for name, p in tiny.model.named_parameters()}
    stored |= {name: b.float().numpy() for name, b in tiny.model.named_buffers() if name in tiny.model.state_dict()}
    for name, value in stored.items():
        yield from convert(name, value)


def permuted(heads: int, value: Array) -> Array:
    """Rows of q or k, heads' halves interleaved: families that rotate neighbours."""
    return value.reshape(heads, 2, -1, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def _sizes(config: Any) -> dict[str, Any]:
    """What most converters write of a config."""
    heads = getattr(config, "num_attention_heads", 1)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = getattr(config, "rope_parameters", None) or {}
    return {
        "context_length": getattr(config, "max_position_embeddings", None),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", None),
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", heads),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "rope.freq_base": rope.get("rope_theta"),
        "rope.dimension_count": int(head_dim * rope.get("partial_rotary_factor", 1.0)),
        "vocab_size": VOCAB,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    adders.get(type(value), writer.add_array)(key, value)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens = [*ALPHABET, "ab", *(f"<unused{i}>" for i in range(1, VOCAB - len(ALPHABET)))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    writer.add_token_merges(["a b"])


def _gguf_name(names: gguf.TensorNameMap, name: str) -> str:
    """By the package's table; a name that is already one of GGUF's stays."""
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    return found or name
