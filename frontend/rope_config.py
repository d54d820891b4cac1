"""How config.json says that heads rotate. Old files have `rope_theta` and `rope_scaling`, new ones one `rope_parameters`.

Reference: transformers, modeling_rope_utils.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import REQUIRED, Checkpoint, Required, quoted
from llmc.frontend.dialect import Dialect
from llmc.frontend.rope import RopeScaling, longrope_magnitude, yarn_mscale

KINDS: Final = ("default", "dynamic", "linear", "llama3", "yarn", "longrope", "proportional")
FULL: Final = "rope_parameters.full_attention."
MAX_CONTEXT: Final = (1 << 32) - 1


def huggingface_rope(checkpoint: Checkpoint, head_dim: int, context: int, dialect: Dialect) -> tuple[int, float, RopeScaling]:
    """(features of a head that rotate, base, scaling). Raises MalformedFileError or UnsupportedModelError naming the key."""
    keys = _RopeKeys(checkpoint, dialect.local_rope)
    base = keys.number("rope_theta", 1e-3, 1e12, checkpoint.number("rope_theta", dialect.rope_base, low=1e-3, high=1e12))
    share = keys.number("partial_rotary_factor", 0.0, 1.0, checkpoint.number("partial_rotary_factor", 1.0, low=0.0, high=1.0))
    if keys.kind == "proportional":  # all features, most of them by nothing
        return head_dim, base, RopeScaling("proportional", keys.number("factor", 1.0, 1e6, 1.0), share=share)
    dims = int(head_dim * share)
    if dims % 2:
        raise MalformedFileError(f"{checkpoint.key_file}: partial_rotary_factor {share} makes an odd number of features rotate")
    return dims, base, _scaling(keys, dims, context)


@dataclass(frozen=True)
class _RopeKeys:
    """The keys of the object that describes rotation."""

    checkpoint: Checkpoint
    by_kind: bool  # whether layers with and without a window may have an object each; this is of those without

    @property
    def prefix(self) -> str:
        if self.by_kind and any(key.startswith(FULL) for key in self.checkpoint.keys):
            return FULL
        new = any(key.startswith("rope_parameters.") for key in self.checkpoint.keys)
        return "rope_parameters." if new else "rope_scaling."

    @property
    def kind(self) -> str:
        old = self.checkpoint.string(f"{self.prefix}type", "default")
        return self.checkpoint.string(f"{self.prefix}rope_type", old)

    def number(self, key: str, low: float, high: float, default: float | Required = REQUIRED) -> float:
        return self.checkpoint.number(self.prefix + key, default, low=low, high=high)

    def length(self, default: int | Required = REQUIRED) -> int:
        return self.checkpoint.integer(f"{self.prefix}original_max_position_embeddings", 1, MAX_CONTEXT, default)

    def factors(self, key: str, count: int) -> tuple[float, ...]:
        """One positive number for each pair of features that rotates."""
        values = self.checkpoint.numbers(self.prefix + key)
        if len(values) != count:
            raise self.checkpoint.wrong(self.prefix + key, f"has {len(values)} elements, expected {count}")
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise self.checkpoint.wrong(self.prefix + key, "holds a factor that is not a positive number")
        return tuple(values.tolist())

    def factor(self) -> float:
        return self.number("factor", 1.0, 1e6)


def _scaling(keys: _RopeKeys, dims: int, context: int) -> RopeScaling:
    nested = [key for key in keys.checkpoint.keys if key.startswith(keys.prefix) and "." in key.removeprefix(keys.prefix)]
    if nested:
        raise UnsupportedModelError(f"{keys.checkpoint.key_file}: {quoted(nested[0])}: llmc compiles one rotation for all layers")
    kind = keys.kind
    if kind in ("default", "dynamic"):  # dynamic NTK leaves positions of the model's own context as they are
        return RopeScaling()
    if kind == "linear":
        return RopeScaling("linear", keys.factor())
    if kind == "llama3":
        return _llama3(keys)
    if kind == "yarn":
        return _yarn(keys, context)
    if kind == "longrope":
        return _longrope(keys, dims, context)
    raise UnsupportedModelError(
        f"{keys.checkpoint.key_file}: {keys.prefix}rope_type is {quoted(kind)}; llmc can compile {', '.join(KINDS)}"
    )


def _llama3(keys: _RopeKeys) -> RopeScaling:
    low, high = keys.number("low_freq_factor", 1e-6, 1e6), keys.number("high_freq_factor", 1e-6, 1e6)
    if low > high:
        raise keys.checkpoint.wrong(f"{keys.prefix}low_freq_factor", f"is {low}, expected at most high_freq_factor {high}")
    return RopeScaling("llama3", keys.factor(), original_context=keys.length(), low=low, high=high)


def _yarn(keys: _RopeKeys, context: int) -> RopeScaling:
    factor = keys.factor()
    return RopeScaling(
        "yarn",
        factor,
        original_context=keys.length(context),
        beta_fast=keys.number("beta_fast", 1e-3, 1e6, 32.0),
        beta_slow=keys.number("beta_slow", 1e-3, 1e6, 1.0),
        magnitude=_magnitude(keys, factor),
        truncate=keys.checkpoint.flag(f"{keys.prefix}truncate", True),
    )


def _longrope(keys: _RopeKeys, dims: int, context: int) -> RopeScaling:
    """The trained context stands beside the factors, or among the model's own keys, where Phi 3 has it."""
    beside = keys.checkpoint.integer("original_max_position_embeddings", 1, MAX_CONTEXT, None)
    original = keys.length(REQUIRED if beside is None else beside)
    factor = keys.number("factor", 1e-6, 1e6, context / original)
    magnitude = keys.number("attention_factor", 1e-6, 1e6, longrope_magnitude(factor, original))
    short, long = (keys.factors(name, dims // 2) for name in ("short_factor", "long_factor"))
    return RopeScaling("longrope", original_context=original, attention_factor=magnitude, short=short, long=long)


def _magnitude(keys: _RopeKeys, factor: float) -> float | None:
    """What cos and sin are multiplied by, where the config says it: outright, or as a quotient of two scales."""
    given = keys.number("attention_factor", 0.0, 1e6, 0.0)
    if given:
        return given
    scale, all_dims = keys.number("mscale", 0.0, 1e3, 0.0), keys.number("mscale_all_dim", 0.0, 1e3, 0.0)
    return float(yarn_mscale(factor, scale) / yarn_mscale(factor, all_dims)) if scale and all_dims else None
