"""Hyper-parameters of a decoder, read from a checkpoint's keys and checked before anything is built from them.

NAMES has the names of each: under the architecture's prefix in GGUF, and in config.json, where families differ. Messages name the
file's own key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import REQUIRED, Checkpoint, Required
from llmc.frontend.dialect import MAX_LENGTH, PLAIN, Dialect, huggingface_options
from llmc.frontend.experts import Experts, read_experts
from llmc.frontend.latent import Latent, read_latent
from llmc.frontend.recurrent import Delta, Ssm
from llmc.frontend.rope import RopeScaling, yarn_mscale
from llmc.frontend.rope_config import huggingface_rope

LONG_FACTORS = "rope_factors_long.weight"
MAX_PREDICTING = 16
PARTS: Final = ("recurrent", "attention", "feed_forward", "experts")
MAX_DIM = 1 << 24  # no published model is within a factor of 64 of it; larger numbers come from broken files

NAMES: Final[Mapping[str, tuple[str, str | tuple[str, ...]]]] = {
    "hidden": ("embedding_length", ("hidden_size", "n_embd", "n_embed", "d_model")),
    "intermediate": ("feed_forward_length", ("intermediate_size", "n_inner", "ffn_hidden_size")),
    "layers": ("block_count", ("num_hidden_layers", "n_layer", "n_layers")),
    "heads": ("attention.head_count", ("num_attention_heads", "n_head", "n_heads")),
    "kv_heads": ("attention.head_count_kv", ("num_key_value_heads", "num_kv_heads")),
    "head_dim": ("attention.key_length", "head_dim"),
    "value_dim": ("attention.value_length", "v_head_dim"),
    "context": ("context_length", ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")),
    "norm_eps": ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    "layer_norm_eps": ("attention.layer_norm_epsilon", ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")),
    "softcap": ("attn_logit_softcapping", "attn_logit_softcapping"),
    "logit_softcap": ("final_logit_softcapping", "final_logit_softcapping"),
    "window": ("attention.sliding_window", "sliding_window"),
    "experts_used": ("expert_used_count", "num_experts_per_tok"),
    "experts": ("expert_count", "num_local_experts"),
    "query_scale": ("", "query_pre_attn_scalar"),
    "attention_scale": ("attention.scale", "attention_multiplier"),
    "embedding_scale": ("embedding_scale", "embedding_multiplier"),
    "residual_scale": ("residual_scale", "residual_multiplier"),
    "logit_scale": ("logit_scale", "logits_scaling"),
    "clip": ("attention.clamp_kqv", "clip_qkv"),
}


@dataclass(frozen=True)
class Temperature:
    """Queries from position i * length - offset on are multiplied by 1 + beta * ln(1 + i)."""

    beta: float
    length: int
    offset: int = 0


@dataclass(frozen=True)
class Altup:
    """Streams of rows of which each layer works on one: `inputs` of them, the `active` one's correction is `scaled` or not."""

    inputs: int
    active: int
    scaled: bool


@dataclass(frozen=True)
class LayerShape:
    """Sizes that may differ between the layers of a model."""

    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int


@dataclass(frozen=True)
class Config:
    """Sizes in elements, lengths in tokens. Factors are 1.0 and caps 0.0 where a family has none."""

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
    experts: Experts | None = None
    latent: Latent | None = None  # what all heads share in the place of keys and values; then head_dim is what rotates of a head
    window: int = 0  # positions that a layer with a window sees, its own among them; 0: all
    chunked: bool = False  # whether windows lie one after the other, in the place of moving on with each position
    states_window: bool = False  # whether there is one, if only of the whole context
    local_layers: tuple[bool, ...] | None = None  # which layers have a window; None: as the family has it
    global_every: int = 0  # layers from one without a window to the next, the first having none; 0: see local_layers
    local_rope_base: float = 0.0  # of layers with a window; 0: as all others
    local_rope_dims: int = 0  # features of their heads that rotate; 0: as all others
    softcap: float = 0.0  # of attention scores
    logit_softcap: float = 0.0
    activation: str = ""  # the feed-forward's function as config.json says it; "": the family's
    parallel: bool = False  # attention and feed-forward side by side, where a family has both kinds
    clip: float = 0.0  # what elements of q, k and v are clamped to; 0: not
    slopes: tuple[float, ...] = ()  # ALiBi's, one for each head; empty: none
    distances: tuple[int, ...] = ()  # at which buckets to one side begin, where scores are joined by a bias for each; empty: none
    temperature: Temperature | None = None
    rotating: tuple[bool, ...] | None = None  # which layers rotate; None: as the family has it
    recurrent: tuple[bool, ...] = ()  # which layers keep a state instead of keys and values; empty: none
    ssm: Ssm | None = None  # sizes of the recurrent layers' state space
    delta: Delta | None = None  # sizes of the recurrent layers' delta rule
    conv_taps: int = 0  # of a short convolution
    norm_heads: bool = True  # whether heads of q and k are normalised, where a family has both kinds
    norm_first: bool = False  # whether a recurrent layer normalises before it gates, where a family has both kinds
    factors: Mapping[str, float] = field(default_factory=dict)  # of products, by the name of the weight
    keys_serve: bool | None = None  # as values too, in layers without a window; None: where a file has no values
    per_layer: int = 0  # features that each layer has for a token, besides what comes from the layer before
    own_caches: int = 0  # layers with keys and values of their own; those behind attend to the last of their kind among them
    altup: Altup | None = None
    sparsity: tuple[float | None, ...] = ()  # how many deviations above the mean a layer's features must lie; None: any
    parts: tuple[str, ...] = ()  # of layers that have one each, PARTS; empty: a layer has what mixes tokens and what follows
    shapes: tuple[LayerShape, ...] = ()  # of the layers, one by one; empty: they are alike

    def of_layer(self, layer: int) -> Config:
        """The config with the sizes of one layer."""
        if not self.shapes:
            return self
        own = self.shapes[layer]
        return replace(
            self, heads=own.heads, kv_heads=own.kv_heads, head_dim=own.head_dim, intermediate=own.intermediate, shapes=()
        )

    def shares(self, layer: int) -> int | None:
        """The layer whose keys and values this one attends to, None: its own. A layer with a window shares those of one that
        has it too."""
        if not self.own_caches or layer < self.own_caches:
            return None
        kinds = self.local_layers or (False,) * self.layers
        return max(i for i in range(self.own_caches) if kinds[i] == kinds[layer])

    def is_recurrent(self, layer: int) -> bool:
        return bool(self.recurrent) and self.recurrent[layer]

    def has_experts(self, layer: int) -> bool:
        """Whether a layer has experts in the place of the feed-forward block."""
        return self.experts is not None and self.experts.layers[layer]


def read_config(checkpoint: Checkpoint, eps: str = "norm_eps", dialect: Dialect = PLAIN) -> Config:
    """The config a decoder states; `eps` is the name of its norms' epsilon, `dialect` how its config.json has the rest.

    Raises MalformedFileError or UnsupportedModelError naming the key.
    """
    keys = Keys(checkpoint)
    layers = _layers(keys)
    hidden, heads = keys.integer("hidden"), keys.of_layers("heads", layers, some=True)
    if dialect.shaped:
        kv_heads = keys.each_layer("kv_heads", layers)[0]
    else:
        kv_heads = keys.of_layers("kv_heads", layers, default=heads, some=True)
    if heads % kv_heads:
        raise MalformedFileError(f"{keys.name('kv_heads')} is {kv_heads}, which does not divide {keys.name('heads')} {heads}")
    latent = read_latent(keys) if dialect.latent else None
    head_dim = latent.rope if latent else _head_dim(keys, hidden, heads)
    context = keys.integer("context", high=MAX_LENGTH)
    if keys.gguf:
        rope_dims, base, scaling = _gguf_rope(keys, head_dim, context, dialect.latent)
    else:
        rope_dims, base, scaling = huggingface_rope(checkpoint, head_dim, context, dialect)
    options = _gguf_options(keys, layers, context) if keys.gguf else huggingface_options(keys, dialect, layers, context)
    return Config(
        hidden=hidden,
        intermediate=keys.each_layer("intermediate", layers)[0] if dialect.shaped else _intermediate(keys, layers),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=context,
        norm_eps=keys.number(eps, low=0.0, high=1.0),
        rope_dims=rope_dims,
        rope_base=base,
        rope_scaling=scaling,
        attention_scale=keys.factor("attention_scale") or (latent.nope + latent.rope if latent else head_dim) ** -0.5,
        latent=latent,
        embedding_scale=keys.factor("embedding_scale") or 1.0,
        residual_scale=keys.factor("residual_scale") or 1.0,
        logit_scale=keys.factor("logit_scale") or 1.0,
        clip=keys.factor("clip") or 0.0,
        experts=read_experts(keys, layers, dialect),
        **options,
    )


def read_recurrent_config(checkpoint: Checkpoint, eps: str = "norm_eps", dialect: Dialect = PLAIN) -> Config:
    """The config of a decoder all of whose layers keep a state: no attention, no feed-forward. Raises as read_config does."""
    keys = Keys(checkpoint)
    layers = _layers(keys)
    return Config(
        hidden=keys.integer("hidden"), intermediate=0, layers=layers, heads=0, kv_heads=0, head_dim=0,
        context=keys.integer("context", high=MAX_LENGTH), norm_eps=keys.number(eps, low=0.0, high=1.0), rope_dims=0,
        rope_base=0.0, rope_scaling=RopeScaling(), attention_scale=0.0, recurrent=(True,) * layers,
    )  # fmt: skip


def _gguf_options(keys: Keys, layers: int, context: int) -> dict[str, Any]:
    """Windows and caps. A window of the whole context is none."""
    window = keys.integer("window", low=0, high=MAX_LENGTH, default=0)
    return {
        "window": window if window < context else 0,
        "states_window": window > 0,
        "local_layers": keys.pattern("attention.sliding_window_pattern", layers),
        "local_rope_base": keys.number("rope.freq_base_swa", low=1e-3, high=1e12, default=0.0),
        "softcap": keys.factor("softcap") or 0.0,
        "logit_softcap": keys.factor("logit_softcap") or 0.0,
        "recurrent": _gguf_recurrent(keys, layers),
    }


def _gguf_recurrent(keys: Keys, layers: int) -> tuple[bool, ...]:
    """Layers without heads for keys and values."""
    if not keys.has("kv_heads"):
        return ()
    counts = keys.checkpoint.integers(keys.name("kv_heads"), 0, MAX_DIM)
    return tuple(n == 0 for n in counts) if len(counts) == layers and 0 in counts else ()


@dataclass(frozen=True)
class Keys:
    """A checkpoint's keys by llmc's names, or by their own under the architecture's prefix, with bounds."""

    checkpoint: Checkpoint

    @property
    def gguf(self) -> bool:
        return self.checkpoint.container == "gguf"

    def name(self, key: str) -> str:
        """What the checkpoint calls a key: of several names, the first that it has."""
        if not self.gguf:
            names = NAMES[key][1]
            candidates = (names,) if isinstance(names, str) else names
            return next((name for name in candidates if self.checkpoint.keys.get(name) is not None), candidates[0])
        return f"{self.checkpoint.architecture}.{NAMES[key][0] if key in NAMES else key}"

    @property
    def predicting(self) -> int:
        """How many layers behind the last predict further tokens: llmc leaves them out."""
        key = self.name("nextn_predict_layers") if self.gguf else "num_nextn_predict_layers"
        return self.checkpoint.integer(key, 0, MAX_PREDICTING, 0)

    def has(self, key: str) -> bool:
        return self.checkpoint.keys.get(self.name(key)) is not None

    def integer(self, key: str, *, low: int = 1, high: int = MAX_DIM, default: int | Required = REQUIRED) -> int:
        return self.checkpoint.integer(self.name(key), low, high, default)

    def of_layers(self, key: str, layers: int, *, default: int | Required = REQUIRED, some: bool = False) -> int:
        """One number, or an array with one for each layer, all of which agree; but for layers with 0, where `some` have it."""
        name = self.name(key)
        if not self.has(key) and not isinstance(default, Required):
            return default
        values = self.checkpoint.integers(name, 0 if some else 1, MAX_DIM)
        if len(values) not in (1, layers):
            raise MalformedFileError(f"{name} has {len(values)} elements; expected one, or one for each of {layers} layers")
        there = [n for n in values if n]
        if not there:
            raise MalformedFileError(f"{name} is 0 in every layer")
        if len(set(there)) != 1:
            raise UnsupportedModelError(f"{name} differs between layers, which llmc cannot compile")
        return there[0]

    def each_layer(self, key: str, layers: int) -> tuple[int, ...]:
        """One number for each layer, from one for all or an array."""
        values = self.checkpoint.integers(self.name(key), 1, MAX_DIM)
        if len(values) not in (1, layers):
            what = f"{self.name(key)} has {len(values)} elements"
            raise MalformedFileError(f"{what}; expected one, or one for each of {layers} layers")
        return values * (layers // len(values))

    def number(self, key: str, *, low: float, high: float, default: float | Required = REQUIRED) -> float:
        return self.checkpoint.number(self.name(key), default, low=low, high=high)

    def pattern(self, key: str, layers: int) -> tuple[bool, ...] | None:
        """For each layer whether it has a window: stated one by one, or as the number of layers the last of which has none."""
        name = self.name(key)
        value = self.checkpoint.keys.get(name)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.dtype.kind == "b":
            if len(value) != layers:
                raise MalformedFileError(f"{name} has {len(value)} elements; expected one for each of {layers} layers")
            return tuple(map(bool, value))
        every = self.checkpoint.integer(name, 1, MAX_DIM)
        return tuple((i + 1) % every != 0 for i in range(layers))

    def factor(self, key: str) -> float | None:
        """A multiplier, or None where the checkpoint has none (absent or zero)."""
        return self.number(key, low=0.0, high=1e6, default=0.0) or None


def _layers(keys: Keys) -> int:
    layers = keys.integer("layers", high=MAX_LENGTH)
    if keys.gguf and keys.predicting:  # counted among the blocks
        if keys.predicting >= layers:
            raise MalformedFileError(f"{keys.name('layers')} is {layers}, and {keys.predicting} of them predict further tokens")
        layers -= keys.predicting
    tensors = len(keys.checkpoint.tensors)
    if layers > tensors:
        raise MalformedFileError(f"{keys.name('layers')} is {layers}, but the file has {tensors} tensors in all")
    return layers


def _intermediate(keys: Keys, layers: int) -> int:
    """Features of a feed-forward block; 0 where every layer has experts and the file leaves it out. Some layers may have none."""
    own = keys.gguf and keys.has("experts") and keys.has("expert_feed_forward_length")
    return keys.of_layers("intermediate", layers, default=0 if own else REQUIRED, some=True)


def _head_dim(keys: Keys, hidden: int, heads: int) -> int:
    name = keys.name("head_dim")
    head_dim = keys.integer("head_dim", high=4096, default=max(hidden // heads, 1))
    value_dim = keys.integer("value_dim", high=4096, default=head_dim)
    if not keys.has("head_dim") and hidden % heads:
        raise MalformedFileError(f"{keys.name('heads')} is {heads}, which does not divide {keys.name('hidden')} {hidden}")
    if value_dim != head_dim:
        raise UnsupportedModelError(f"{keys.name('value_dim')} {value_dim} differs from {name} {head_dim}")
    if head_dim % 2:
        raise UnsupportedModelError(f"{name}: head dimension {head_dim} is odd")
    return head_dim


def _gguf_rope(keys: Keys, head_dim: int, context: int, latent: bool) -> tuple[int, float, RopeScaling]:
    """(features that rotate, base, scaling)."""
    dims = keys.integer("rope.dimension_count", low=0, default=head_dim)
    if dims > head_dim or dims % 2:
        raise MalformedFileError(
            f"{keys.name('rope.dimension_count')} is {dims}; it must be even and at most the head dimension {head_dim}"
        )
    return dims, keys.number("rope.freq_base", low=1e-3, high=1e12, default=10000.0), _gguf_scaling(keys, context, latent)


def _gguf_scaling(keys: Keys, context: int, latent: bool) -> RopeScaling:
    kind = keys.checkpoint.string(keys.name("rope.scaling.type"), default="")
    if kind == "" and LONG_FACTORS in keys.checkpoint.tensors:  # files say longrope by having its factors
        kind = "longrope"
    factor = keys.factor("rope.scaling.factor") or keys.factor("rope.scale_linear") or 1.0
    if kind in ("", "none"):
        return RopeScaling("linear", factor) if kind == "" and factor != 1.0 else RopeScaling()
    if kind not in ("linear", "yarn", "longrope"):
        raise UnsupportedModelError(
            f"{keys.name('rope.scaling.type')} is {kind!r}; llmc can compile none, linear, yarn and longrope"
        )
    default = REQUIRED if kind == "longrope" else 1.0
    attention_factor = keys.number("rope.scaling.attn_factor", low=1e-6, high=1e6, default=default)
    return RopeScaling(
        kind,
        factor,
        original_context=keys.integer("rope.scaling.original_context_length", default=context, high=MAX_LENGTH),
        attention_factor=attention_factor,
        magnitude=_gguf_magnitude(keys, factor, attention_factor, latent) if kind == "yarn" else None,
        beta_fast=keys.factor("rope.scaling.yarn_beta_fast") or 32.0,
        beta_slow=keys.factor("rope.scaling.yarn_beta_slow") or 1.0,
    )


def _gguf_magnitude(keys: Keys, factor: float, attention_factor: float, latent: bool) -> float | None:
    """What YaRN multiplies cos and sin by where the file holds config.json's mscale_all_dim: a quotient, mscale being 1, or in
    models of latents the same. None where it does not.
    """
    weight = keys.number("rope.scaling.yarn_log_multiplier", low=0.0, high=1e3, default=0.0)
    if not weight or factor <= 1.0:
        return None
    return attention_factor * (1.0 if latent else float(yarn_mscale(factor) / yarn_mscale(factor, weight)))
