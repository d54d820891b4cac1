"""Sizes of a state space layer, read from a checkpoint's keys and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError

if TYPE_CHECKING:
    from llmc.frontend.checkpoint import Checkpoint
    from llmc.frontend.config import Keys

MAX_TAPS: Final = 64
MAX_FEATURES: Final = 512  # of a channel's state; the largest published model has 256
MAX_HEADS: Final = 1 << 14
LARGEST: Final = 3.0e38  # in place of infinity, which no number of the graph may be


@dataclass(frozen=True)
class Ssm:
    """A state space of `inner` channels with `state` features each, fed by a convolution of `taps`.

    heads    of inner / heads channels, which share a step size (Mamba-2); 0 where each channel has its own (Mamba-1)
    groups   of heads, which share the projections B and C
    dt_rank  features from which Mamba-1 computes the step sizes
    dt_min, dt_max  what step sizes are limited to
    norm_eps of the norms of B, C and what the step sizes are made of; 0: there are none
    """

    inner: int
    state: int
    taps: int
    heads: int = 0
    groups: int = 1
    dt_rank: int = 0
    dt_min: float = 0.0
    dt_max: float = LARGEST
    norm_eps: float = 0.0

    @property
    def head_dim(self) -> int:
        return self.inner // self.heads

    @property
    def conv_columns(self) -> int:
        """Columns that Mamba-2 convolves: x, B and C."""
        return self.inner + 2 * self.groups * self.state


@dataclass(frozen=True)
class Delta:
    """A gated delta rule: `heads` of value_dim values, over key_heads of key_dim keys, fed by a convolution of `taps`.

    key_order  "grouped" where heads in a row share a key head, "tiled" where head h has key head h mod key_heads
    """

    heads: int
    key_heads: int
    key_dim: int
    value_dim: int
    taps: int
    key_order: str = "grouped"

    @property
    def keys(self) -> int:
        """Columns of the queries, and of the keys."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        return self.heads * self.value_dim


def gguf_delta(keys: Keys, key_order: str) -> Delta:
    """As GGUF files state it, by the names of a state space. Raises MalformedFileError naming the key."""
    heads, inner = keys.integer("ssm.time_step_rank", high=MAX_HEADS), keys.integer("ssm.inner_size")
    if inner % heads or inner // heads > MAX_FEATURES:
        what = f"{keys.name('ssm.time_step_rank')} is {heads}"
        raise MalformedFileError(f"{what}; {keys.name('ssm.inner_size')} {inner} must be up to {MAX_FEATURES} for each")
    key_heads, key_dim = keys.integer("ssm.group_count", high=heads), keys.integer("ssm.state_size", high=MAX_FEATURES)
    delta = Delta(heads, key_heads, key_dim, inner // heads, keys.integer("ssm.conv_kernel", low=2, high=MAX_TAPS), key_order)
    return _checked_delta(delta, keys.name("ssm.group_count"), keys.name("ssm.time_step_rank"))


def huggingface_delta(checkpoint: Checkpoint) -> Delta:
    """As config.json states it. Raises MalformedFileError naming the key."""

    def number(name: str, low: int, high: int) -> int:
        return checkpoint.integer(f"linear_{name}", low, high)

    heads, key_heads = number("num_value_heads", 1, MAX_HEADS), number("num_key_heads", 1, MAX_HEADS)
    dims = number("key_head_dim", 1, MAX_FEATURES), number("value_head_dim", 1, MAX_FEATURES)
    delta = Delta(heads, key_heads, *dims, number("conv_kernel_dim", 2, MAX_TAPS))
    return _checked_delta(delta, "linear_num_key_heads", "linear_num_value_heads")


def _checked_delta(delta: Delta, key_heads: str, heads: str) -> Delta:
    if delta.heads % delta.key_heads:
        raise MalformedFileError(f"{key_heads} is {delta.key_heads}, which does not divide {heads} {delta.heads}")
    return delta


def gguf_mamba(keys: Keys) -> Ssm:
    """Mamba-1 as GGUF files state it. Raises MalformedFileError naming the key."""
    return Ssm(
        inner=keys.integer("ssm.inner_size"),
        state=keys.integer("ssm.state_size", high=MAX_FEATURES),
        taps=keys.integer("ssm.conv_kernel", low=2, high=MAX_TAPS),
        dt_rank=keys.integer("ssm.time_step_rank"),
    )


def gguf_ssm(keys: Keys) -> Ssm:
    """Mamba-2 as GGUF files state it. Raises MalformedFileError or UnsupportedModelError naming the key."""
    ssm = Ssm(
        inner=keys.integer("ssm.inner_size"),
        state=keys.integer("ssm.state_size", high=MAX_FEATURES),
        taps=keys.integer("ssm.conv_kernel", low=2, high=MAX_TAPS),
        heads=keys.integer("ssm.time_step_rank", high=MAX_HEADS),
        groups=keys.integer("ssm.group_count", high=MAX_HEADS, default=1),
    )
    return _checked(ssm, keys.name("ssm.inner_size"), keys.name("ssm.time_step_rank"), keys.name("ssm.group_count"))


def huggingface_ssm(checkpoint: Checkpoint, names: Mapping[str, str], inner: int) -> Ssm:
    """Mamba-2 as config.json states it; `names` are the keys of state, taps, heads and groups."""

    def number(name: str, low: int, high: int) -> int:
        return checkpoint.integer(names[name], low, high)

    heads, groups = number("heads", 1, MAX_HEADS), number("groups", 1, MAX_HEADS)
    low, high = step_limits(checkpoint)
    ssm = Ssm(inner, number("state", 1, MAX_FEATURES), number("taps", 2, MAX_TAPS), heads, groups, dt_min=low, dt_max=high)
    head_dim = checkpoint.keys.get(names["head_dim"], "auto")
    if head_dim not in ("auto", None) and checkpoint.integer(names["head_dim"], 1, inner) * heads != inner:
        raise MalformedFileError(f"{checkpoint.key_file}: {names['head_dim']} times {names['heads']} {heads} is not {inner}")
    return _checked(ssm, f"the {inner} channels", names["heads"], names["groups"])


def _checked(ssm: Ssm, inner: str, heads: str, groups: str) -> Ssm:
    if ssm.inner % ssm.heads:
        raise MalformedFileError(f"{heads} is {ssm.heads}, which does not divide {inner} ({ssm.inner})")
    if ssm.heads % ssm.groups:
        raise MalformedFileError(f"{groups} is {ssm.groups}, which does not divide {heads} {ssm.heads}")
    return ssm


def step_limits(checkpoint: Checkpoint, key: str = "time_step_limit") -> tuple[float, float]:
    """What step sizes are limited to: [0.0, Infinity] where the file does not say; infinity is written in two ways."""
    value = checkpoint.keys.get(key)
    if value is None:
        return 0.0, LARGEST
    try:
        low, high = (_limit(x) for x in value)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        raise checkpoint.wrong(key, "is not a list of two numbers") from None
    if not 0.0 <= low <= high:
        raise UnsupportedModelError(f"{checkpoint.key_file}: {key} goes from {low} to {high}")
    return low, min(high, LARGEST)


def _limit(x: Any) -> float:
    number = float(x["__float__"] if isinstance(x, dict) else x)
    if math.isnan(number):
        raise ValueError("not a number")
    return number
