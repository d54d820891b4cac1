"""Hyper-parameters of a decoder, read from a checkpoint's keys and checked before anything is built from them."""

from __future__ import annotations

from dataclasses import dataclass

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import REQUIRED, Checkpoint, Required
from llmc.frontend.rope import RopeScaling

MAX_DIM = 1 << 24  # no published model is within a factor of 64 of it; larger numbers come from broken files


@dataclass(frozen=True)
class Config:
    """Sizes in elements, lengths in tokens. Factors are 1.0 where a family has none."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    norm_eps: float
    rope_dims: int  # features of a head that rotate; 0: no rotation
    rope_base: float
    rope_scaling: RopeScaling
    attention_scale: float
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0


def read_config(checkpoint: Checkpoint) -> Config:
    """The config a GGUF decoder states. Raises MalformedFileError or UnsupportedModelError naming the key."""
    arch = checkpoint.architecture
    reader = _Keys(checkpoint, arch)
    _refuse_experts(reader)
    layers = _layers(reader, checkpoint)
    hidden, heads = reader.integer("embedding_length"), reader.of_layers("attention.head_count", layers)
    kv_heads = reader.of_layers("attention.head_count_kv", layers, default=heads)
    if heads % kv_heads:
        raise MalformedFileError(f"{arch}.attention.head_count_kv is {kv_heads}, which does not divide head_count {heads}")
    head_dim = _head_dim(reader, hidden, heads)
    return Config(
        hidden=hidden,
        intermediate=reader.of_layers("feed_forward_length", layers),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=reader.integer("context_length", high=(1 << 32) - 1),
        norm_eps=reader.number("attention.layer_norm_rms_epsilon", low=0.0, high=1.0),
        rope_dims=_rope_dims(reader, head_dim),
        rope_base=reader.number("rope.freq_base", low=1e-3, high=1e12, default=10000.0),
        rope_scaling=_scaling(reader),
        attention_scale=reader.factor("attention.scale") or head_dim**-0.5,
        embedding_scale=reader.factor("embedding_scale") or 1.0,
        residual_scale=reader.factor("residual_scale") or 1.0,
        logit_scale=reader.factor("logit_scale") or 1.0,
    )


@dataclass(frozen=True)
class _Keys:
    """Keys under the architecture's prefix, with bounds."""

    checkpoint: Checkpoint
    arch: str

    def integer(self, key: str, *, low: int = 1, high: int = MAX_DIM, default: int | Required = REQUIRED) -> int:
        return self.checkpoint.integer(f"{self.arch}.{key}", low, high, default)

    def of_layers(self, key: str, layers: int, *, default: int | Required = REQUIRED) -> int:
        """One number, or an array with one for each layer, all of which agree."""
        name = f"{self.arch}.{key}"
        if name not in self.checkpoint.keys and not isinstance(default, Required):
            return default
        values = self.checkpoint.integers(name, 1, MAX_DIM)
        if len(values) not in (1, layers):
            raise MalformedFileError(f"{name} has {len(values)} elements; expected one, or one for each of {layers} layers")
        if len(set(values)) != 1:
            raise UnsupportedModelError(f"{name} differs between layers, which llmc cannot compile")
        return values[0]

    def number(self, key: str, *, low: float, high: float, default: float | Required = REQUIRED) -> float:
        return self.checkpoint.number(f"{self.arch}.{key}", default, low=low, high=high)

    def factor(self, key: str) -> float | None:
        """A multiplier, or None where the checkpoint has none (absent or zero)."""
        return self.number(key, low=0.0, high=1e6, default=0.0) or None


def _refuse_experts(reader: _Keys) -> None:
    experts = reader.integer("expert_count", low=0, default=0)
    if experts:
        reader.integer("expert_used_count", high=experts)
        raise UnsupportedModelError(f"{reader.arch}.expert_count is {experts}: mixture-of-experts models cannot be compiled yet")


def _layers(reader: _Keys, checkpoint: Checkpoint) -> int:
    layers = reader.integer("block_count", high=(1 << 32) - 1)
    if layers > len(checkpoint.tensors):
        raise MalformedFileError(
            f"{reader.arch}.block_count is {layers}, but the file has {len(checkpoint.tensors)} tensors in all"
        )
    return layers


def _head_dim(reader: _Keys, hidden: int, heads: int) -> int:
    head_dim = reader.integer("attention.key_length", high=4096, default=max(hidden // heads, 1))
    value_dim = reader.integer("attention.value_length", high=4096, default=head_dim)
    if "attention.key_length" not in _own_keys(reader) and hidden % heads:
        raise MalformedFileError(
            f"{reader.arch}.attention.head_count is {heads}, which does not divide embedding_length {hidden}"
        )
    if value_dim != head_dim:
        raise UnsupportedModelError(f"{reader.arch}.attention.value_length {value_dim} differs from key_length {head_dim}")
    if head_dim % 2:
        raise UnsupportedModelError(f"{reader.arch}: head dimension {head_dim} is odd")
    return head_dim


def _own_keys(reader: _Keys) -> set[str]:
    return {key.removeprefix(f"{reader.arch}.") for key in reader.checkpoint.keys}


def _rope_dims(reader: _Keys, head_dim: int) -> int:
    dims = reader.integer("rope.dimension_count", low=0, default=head_dim)
    if dims > head_dim or dims % 2:
        raise MalformedFileError(
            f"{reader.arch}.rope.dimension_count is {dims}; it must be even and at most the head dimension {head_dim}"
        )
    return dims


def _scaling(reader: _Keys) -> RopeScaling:
    kind = reader.checkpoint.string(f"{reader.arch}.rope.scaling.type", default="")
    factor = reader.factor("rope.scaling.factor") or reader.factor("rope.scale_linear") or 1.0
    if kind in ("", "none"):
        return RopeScaling("linear", factor) if kind == "" and factor != 1.0 else RopeScaling()
    if kind not in ("linear", "yarn"):
        raise UnsupportedModelError(f"{reader.arch}.rope.scaling.type is {kind!r}; llmc can compile none, linear and yarn")
    return RopeScaling(
        kind,
        factor,
        original_context=reader.integer(
            "rope.scaling.original_context_length",
            default=reader.integer("context_length", high=(1 << 32) - 1),
            high=(1 << 32) - 1,
        ),
        attention_factor=reader.factor("rope.scaling.attn_factor") or 1.0,
        beta_fast=reader.factor("rope.scaling.yarn_beta_fast") or 32.0,
        beta_slow=reader.factor("rope.scaling.yarn_beta_slow") or 1.0,
    )
