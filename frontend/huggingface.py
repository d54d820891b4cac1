"""Opens a Hugging Face model directory: config.json, model.safetensors or the shards that model.safetensors.index.json names.

Nothing of the directory is executed: remote code (auto_map) and pickles are refused. Keys are those of config.json; a key of an
object inside it is called by its path, `rope_scaling.factor`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Checkpoint, Tensor, Value, quoted
from llmc.frontend.derived import Stack, find_stacks
from llmc.frontend.gptq import BESIDE as BESIDE_GPTQ
from llmc.frontend.json_file import json_kind, read_json
from llmc.frontend.quant import FORMATS
from llmc.frontend.quantization import CACHE_SCALES, read_linears
from llmc.frontend.quantized import Linear
from llmc.frontend.safetensors import Shard, Stored, read_shard
from llmc.frontend.sentence_transformers import read_modules
from llmc.frontend.wrapped import is_wrapped, text_config, text_linears, text_name, text_tensors
from llmc.ir.quant import Format

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
QUANTIZATION: Final = "quantization_config"
MAX_CONFIG: Final = 16 << 20
MAX_INDEX: Final = 64 << 20
MAX_KEYS: Final = 1 << 16

# What else decides what an artifact does: part of its source's hash.
BESIDE: Final = (
    "generation_config.json", "quantize_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.txt", "modules.json", "1_Pooling/config.json",
    "2_Dense/config.json", "3_Dense/config.json",
)  # fmt: skip

DENSE: Final[Mapping[str, Format]] = {"F32": FORMATS["f32"], "F16": FORMATS["f16"], "BF16": FORMATS["bf16"]}
PACKED: Final = (".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".SCB", ".absmax")  # only in quantised models
# Computed from the config; old files store it beside the weights: frequencies, and the triangle of what a token may see.
BUFFER: Final = re.compile(r".*\.rotary_emb\.inv_freq|(.*\.)?h\.[0-9]+\.attn\.(masked_)?bias|.*\.attention\.(masked_)?bias")


class HuggingFace(Checkpoint):
    """A model directory. `config` is config.json, parsed."""

    container = "safetensors"
    integers_are_numbers = True
    architecture_key = "architectures"

    def __init__(
        self, folder: Path, shards: Sequence[Shard], config: dict[str, Any], tensors: Mapping[str, Tensor],
        grouped: Mapping[str, Linear], stacks: Mapping[str, Stack],
    ) -> None:  # fmt: skip
        beside = [folder / name for name in (CONFIG, INDEX, *BESIDE) if (folder / name).is_file()]
        self.config = config
        self.folder = folder
        self.stacks = stacks
        super().__init__([*(s.path for s in shards), *beside], [s.data for s in shards], flatten(config), tensors)
        self.derived = grouped
        self.path = folder

    def pieces(self, name: str) -> Iterator[Bytes]:
        """As Checkpoint has it, and expert by expert where each has a tensor of its own."""
        if name not in self.stacks or self._beneath is not None:
            yield from super().pieces(name)
            return
        for part in self.stacks[name].parts:
            yield self._bytes(part)
            self._let_go(part)

    def _stored(self, part: Any) -> Bytes:
        if part.name not in self.stacks:
            return super()._stored(part)
        return np.concatenate([self._bytes(each) for each in self.stacks[part.name].parts])

    def _let_go(self, tensor: Tensor) -> None:
        if tensor.name not in self.stacks or self._beneath is not None:
            super()._let_go(tensor)
            return
        for part in self.stacks[tensor.name].parts:
            self._let_go(part)

    def with_implied(self, implied: Mapping[str, Value]) -> HuggingFace:
        """The same directory with keys that its config.json leaves out or null."""
        stated = {key: value for key, value in self.keys.items() if value is not None}
        other = copy(self)
        other.keys = MappingProxyType({**self.keys, **implied, **stated})
        return other

    @property
    def key_file(self) -> str:
        return CONFIG

    def _architecture(self) -> str:
        names = self.strings(self.architecture_key)
        if len(names) != 1:
            raise self.wrong(self.architecture_key, f"names {len(names)} classes, expected one")
        return names[0]


def is_model_directory(path: Path) -> bool:
    return path.is_dir() and (path / CONFIG).exists()


def read_huggingface(folder: Path) -> HuggingFace:
    """Opens a model directory. Raises MalformedFileError where a file contradicts itself or another, UnsupportedModelError for
    what llmc does not read, UsageError where a file cannot be opened. Messages name the file and the key or tensor.
    """
    whole = read_json(folder / CONFIG, MAX_CONFIG)
    wrapped = is_wrapped(whole)
    config = text_config(whole) if wrapped else whole
    _refuse_remote_code(config)
    shards = _read_shards(folder)
    shards += _read_dense(folder, len(shards))
    stored = {name: t for shard in shards for name, t in shard.tensors.items() if not BUFFER.fullmatch(name)}
    tied = config.get("tie_word_embeddings", False) is True
    heads = ("lm_head.", "language_model.lm_head.") if wrapped else ("lm_head.",)
    stored = {name: t for name, t in stored.items() if not (tied and name.startswith(heads))}
    grouped: dict[str, Linear] = {}
    if config.get(QUANTIZATION) is not None:
        stored = {name: t for name, t in stored.items() if not CACHE_SCALES.fullmatch(name)}
        grouped = _linears(folder, config[QUANTIZATION], stored, shards)
    parts = {t.name for g in grouped.values() for t in g.parts.values()}
    if wrapped:
        stored = {name: t for name, t in stored.items() if name in parts or text_name(name)}
    tensors = {name: _tensor(shards[t.file], t) for name, t in stored.items() if name not in parts}
    tensors |= {name: g.tensor for name, g in grouped.items()}
    if wrapped:
        tensors, grouped = text_tensors(tensors), text_linears(grouped)
    stacks = find_stacks(tensors)
    single = {part.name for stack in stacks.values() for part in stack.parts}
    tensors = {name: t for name, t in tensors.items() if name not in single} | {name: s.tensor for name, s in stacks.items()}
    return HuggingFace(folder, shards, config, tensors, grouped, stacks)


def _read_dense(folder: Path, count: int) -> list[Shard]:
    """The weights of dense layers after pooling, each in a folder of its own, with whose name theirs begin.

    Modules that llmc does not compile are refused when they are asked for (results.py).
    """
    try:
        modules = read_modules(folder)
    except UnsupportedModelError:
        return []
    shards = []
    for number, layer in enumerate(modules.dense if modules else (), count):
        shard = read_shard(folder / layer.folder / WEIGHTS, number)
        named = {f"{layer.folder}.{name}": replace(t, name=f"{layer.folder}.{name}") for name, t in shard.tensors.items()}
        shards.append(replace(shard, tensors=named))
    return shards


def _linears(folder: Path, quantization: Any, stored: Mapping[str, Stored], shards: Sequence[Shard]) -> dict[str, Linear]:
    """The quantised linears and what belongs to them, by tensor name. Raises MalformedFileError where there is none."""

    def read(t: Stored) -> Bytes:
        return np.frombuffer(shards[t.file].data, np.uint8, t.nbytes, t.offset)

    beside = folder / BESIDE_GPTQ
    return read_linears(quantization, read_json(beside, MAX_CONFIG) if beside.exists() else {}, stored, read)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """{"a": {"b": 1}} -> {"a.b": 1}; arrays of numbers become numpy arrays. The quantization is left out."""
    keys: dict[str, Value] = {}
    for name, value in config.items():
        if prefix + name == QUANTIZATION:
            continue
        found = flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: _value(value)}
        twice = found.keys() & keys.keys()
        if twice or len(keys) + len(found) > MAX_KEYS:
            why = f"key {quoted(min(twice))} is there twice" if twice else f"more than {MAX_KEYS} keys"
            raise MalformedFileError(f"{CONFIG}: {why}")
        keys |= found
    return keys


def _value(value: Any) -> Value:
    if isinstance(value, list) and value and {type(x) for x in value} <= {int, float}:
        if all(isinstance(x, int) and abs(x) < 1 << 63 for x in value):
            return np.array(value, np.int64)
        if any(isinstance(x, float) for x in value) and all(abs(x) < 1 << 64 for x in value):
            return np.array(value, np.float64)
    return value  # type: ignore[no-any-return]  # what JSON gives


def _refuse_remote_code(config: Mapping[str, Any]) -> None:
    if config.get("auto_map"):
        raise UnsupportedModelError(
            f"{CONFIG}: key auto_map says that architectures {config.get('architectures')} are code of the model's own",
            hint="llmc executes nothing from a checkpoint; where the class is one of transformers', remove the key",
        )


def _read_shards(folder: Path) -> list[Shard]:
    """The weights: one file, or all those of an index, each tensor in the file that the index says."""
    if (folder / WEIGHTS).exists():
        return [read_shard(folder / WEIGHTS, 0)]
    if not (folder / INDEX).exists():
        pickles = sorted(p.name for p in folder.glob("pytorch_model*.bin"))
        hint = f"{pickles[0]} is a pickle, which is a program; convert it" if pickles else None
        raise MalformedFileError(f"{WEIGHTS} is missing, and there is no {INDEX}", hint=hint)
    places = _read_index(folder)
    names = sorted(set(places.values()))
    shards = [read_shard(folder / name, i) for i, name in enumerate(names)]
    for name, place in places.items():
        if name not in shards[names.index(place)].tensors:
            raise MalformedFileError(f"{INDEX}: tensor {quoted(name)} is not in {place}")
    for shard in shards:
        strangers = [name for name in shard.tensors if places.get(name) != shard.path.name]
        if strangers:
            raise MalformedFileError(f"{INDEX}: tensor {quoted(strangers[0])} of {shard.path.name} is not where the index says")
    return shards


def _read_index(folder: Path) -> dict[str, str]:
    """Tensor name -> name of a file in the directory."""
    places = read_json(folder / INDEX, MAX_INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise MalformedFileError(f"{INDEX}: key weight_map is {json_kind(places)}, expected an object that is not empty")
    for name, place in places.items():
        if not isinstance(place, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors", place):
            shown = place if isinstance(place, str) else repr(place)
            raise MalformedFileError(
                f"{INDEX}: weight_map sends {quoted(name)} to {quoted(shown)}, which is no name of a safetensors file"
            )
        if not (folder / place).is_file():
            raise MalformedFileError(f"{INDEX}: weight_map names {place}, which is missing")
    return places


def _tensor(shard: Shard, stored: Stored) -> Tensor:
    fmt = DENSE.get(stored.dtype)
    if fmt is None:
        what = f"{shard.path.name}: tensor {stored.name} has dtype {stored.dtype}"
        if stored.name.endswith(PACKED):
            raise MalformedFileError(f"{what}, as in quantised models, but {CONFIG} has no {QUANTIZATION}")
        raise UnsupportedModelError(f"{what}, which llmc cannot read; it reads {', '.join(DENSE)}")
    return Tensor(stored.name, fmt, stored.shape, stored.file, stored.offset, stored.nbytes)
