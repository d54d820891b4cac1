"""Hyper-parameters of a mixture of experts, read from a checkpoint's keys and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmc.errors import UnsupportedModelError

if TYPE_CHECKING:
    from llmc.frontend.config import Keys
    from llmc.frontend.dialect import Dialect

MAX_EXPERTS: Final = 1 << 14  # the largest published model has 512
GATES: Final = ("softmax", "softmax", "sigmoid")  # by expert_gating_func; 0 is a file without the key


@dataclass(frozen=True)
class Experts:
    """`count` networks of `intermediate` features in every layer, `used` of them for a token.

    gate       how a router's logit becomes a score: "softmax" over all experts, or "sigmoid"
    normalize  whether the scores of the used ones are made to sum to one; None where the file leaves it to the family
    scale      what the weights are multiplied by after that
    """

    count: int
    used: int
    intermediate: int
    gate: str
    normalize: bool | None
    scale: float


def read_experts(keys: Keys, layers: int, dialect: Dialect) -> Experts | None:
    """None for a dense model. Raises MalformedFileError or UnsupportedModelError naming the key."""
    count = keys.integer("experts", low=0, high=MAX_EXPERTS, default=0)
    if count == 0:
        return None
    if not keys.gguf:
        return _huggingface_experts(keys, layers, dialect, count)
    if (groups := keys.integer("expert_group_count", low=0, default=0)) > 1:
        raise UnsupportedModelError(f"{keys.name('expert_group_count')} is {groups}: llmc cannot choose experts by groups")
    gate = keys.integer("expert_gating_func", low=0, high=255, default=0)
    if gate >= len(GATES):
        raise UnsupportedModelError(f"{keys.name('expert_gating_func')} is {gate}; llmc can compile 1 (softmax) and 2 (sigmoid)")
    dense = keys.of_layers("intermediate", layers)
    return Experts(
        count=count,
        used=keys.integer("experts_used", high=count),
        intermediate=keys.of_layers("expert_feed_forward_length", layers, default=dense),
        gate=GATES[gate],
        normalize=keys.checkpoint.flag(keys.name("expert_weights_norm"), None),
        scale=keys.factor("expert_weights_scale") or 1.0,
    )


def _huggingface_experts(keys: Keys, layers: int, dialect: Dialect, count: int) -> Experts:
    """As the first Mixtral has them: of the size that a feed-forward block has, chosen by softmax."""
    checkpoint = keys.checkpoint
    if checkpoint.architecture not in dialect.experts:
        what = f"{checkpoint.key_file}: {keys.name('experts')} is {count}"
        raise UnsupportedModelError(f"{what}; llmc compiles {checkpoint.architecture} from directories without experts")
    used, intermediate = keys.integer("experts_used", high=count), keys.of_layers("intermediate", layers)
    return Experts(count, used, intermediate, gate="softmax", normalize=None, scale=1.0)
