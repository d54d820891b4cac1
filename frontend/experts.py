"""Hyper-parameters of a mixture of experts, read from a checkpoint's keys and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from llmc.errors import MalformedFileError, UnsupportedModelError

if TYPE_CHECKING:
    from llmc.frontend.config import Keys
    from llmc.frontend.dialect import Dialect

MAX_EXPERTS: Final = 1 << 14  # the largest published model has 512
MAX_WIDTH: Final = 1 << 24
GATES: Final = (None, "softmax", "sigmoid")  # by expert_gating_func
COUNTS: Final = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")  # how many, in some config.json


@dataclass(frozen=True)
class ExpertKeys:
    """How config.json of a family says what its experts are: the keys' names, "" where the family has none.

    classes        the classes that may have experts
    used           how many a token passes through; how many there are has one of the names COUNTS
    intermediate   the features of one
    shared         the features of the network that every token passes through beside them
    shared_count   or how many experts it is as wide as
    gate           how a logit becomes a score (see Experts); it is no key
    normalize      whether the weights sum to one
    normalized     what a file without that key means; it is no key
    scale          what they are multiplied by
    groups         how many groups of experts there are, and how many of them a token may use
    best_of_group  by how many of its best experts a group is chosen; it is no key
    leading        how many layers at the front have no experts
    step           the experts are in every so many-th layer
    dense          the list of further layers that have none
    least          how many experts there are at least, where there are any; it is no key
    enabled        the flag without which there are none
    sparse         the list of all layers that have experts, where the file has it; then the three before it say nothing
    """

    classes: tuple[str, ...]
    used: str = "num_experts_per_tok"
    intermediate: str = "moe_intermediate_size"
    shared: str = ""
    shared_count: str = ""
    gate: str | None = None
    normalize: str = ""
    normalized: bool | None = None
    scale: str = ""
    groups: tuple[str, str] = ("", "")
    best_of_group: int = 2
    leading: str = ""
    step: str = ""
    dense: str = ""
    least: int = 1
    sparse: str = ""
    enabled: str = ""


@dataclass(frozen=True)
class Groups:
    """Experts lie in `count` groups of equal size; a token uses those of the `used` groups whose `best` best ones are best."""

    count: int
    used: int
    best: int


@dataclass(frozen=True)
class Experts:
    """`count` networks of `intermediate` features in some layers, `used` of them for a token.

    gate       how a router's logit becomes a score: "softmax" over all experts, "sigmoid" or "sparsemixer" (with `jitter`, see
               codegen/kernels/router.py); None where the file leaves it to the family
    normalize  whether the scores of the used ones are made to sum to one; None where the file leaves it to the family
    scale      what the weights are multiplied by after that
    layers     for each layer whether it has experts; the others have a feed-forward block
    shared     features of the network that every token passes through beside its experts; 0: there is none
    groups     None: an expert is chosen from all
    latent     features that experts work on, in the place of the model's; 0: these
    """

    count: int
    used: int
    intermediate: int
    gate: str | None
    normalize: bool | None
    scale: float
    layers: tuple[bool, ...] = field(default=(), kw_only=True)
    shared: int = field(default=0, kw_only=True)
    groups: Groups | None = field(default=None, kw_only=True)
    jitter: float = field(default=0.0, kw_only=True)
    latent: int = field(default=0, kw_only=True)


def read_experts(keys: Keys, layers: int, dialect: Dialect) -> Experts | None:
    """None for a dense model. Raises MalformedFileError or UnsupportedModelError naming the key."""
    if not keys.gguf:
        return _huggingface_experts(keys, layers, dialect.experts)
    return _gguf_experts(keys, layers, dialect.experts.least if dialect.experts else 1)


def _gguf_experts(keys: Keys, layers: int, least: int) -> Experts | None:
    count = keys.integer("experts", low=0, high=MAX_EXPERTS, default=0)
    if count < least:
        return None
    gate = keys.integer("expert_gating_func", low=0, high=255, default=0)
    if gate >= len(GATES):
        raise UnsupportedModelError(f"{keys.name('expert_gating_func')} is {gate}; llmc can compile 1 (softmax) and 2 (sigmoid)")
    own = keys.has("expert_feed_forward_length")
    intermediate = keys.of_layers("expert_feed_forward_length" if own else "intermediate", layers)
    shared = keys.integer("expert_shared_count", low=0, high=MAX_EXPERTS, default=0) * intermediate
    groups = keys.integer("expert_group_count", low=0, high=count, default=0)
    leading = keys.integer("leading_dense_block_count", low=0, high=layers, default=0)
    return Experts(
        count=count,
        used=keys.integer("experts_used", high=count),
        intermediate=intermediate,
        gate=GATES[gate],
        normalize=keys.checkpoint.flag(keys.name("expert_weights_norm"), None),
        scale=keys.factor("expert_weights_scale") or 1.0,
        layers=sparse_layers(layers, leading, keys.integer("interleave_moe_layer_step", default=1)),
        shared=keys.integer("expert_shared_feed_forward_length", low=0, default=shared),
        groups=_groups(count, groups, keys.integer("expert_group_used_count", high=groups), 2, keys) if groups > 1 else None,
    )


def _huggingface_experts(keys: Keys, layers: int, k: ExpertKeys | None) -> Experts | None:
    """As the family's config.json says it."""
    checkpoint, file = keys.checkpoint, keys.checkpoint.key_file
    found = next((name for name in COUNTS if checkpoint.keys.get(name) is not None), COUNTS[0])
    if k is None or checkpoint.architecture not in k.classes:
        if checkpoint.integer(found, 0, MAX_EXPERTS, 0) > 1:
            what = f"{file}: {found} is {checkpoint.keys[found]}"
            raise UnsupportedModelError(f"{what}; llmc compiles {checkpoint.architecture} from directories without experts")
        return None

    def number(name: str, low: int, high: int, default: int) -> int:
        return checkpoint.integer(name, low, high, default) if name else default

    if k.enabled and not checkpoint.flag(k.enabled, False):
        return None
    count = checkpoint.integer(found, 0, MAX_EXPERTS)
    if count < k.least:
        return None
    intermediate = checkpoint.integer(k.intermediate, 1, MAX_WIDTH)
    groups = number(k.groups[0], 1, count, 1)
    dense = checkpoint.integers(k.dense, 0, layers - 1, ()) if k.dense else ()
    sparse = sparse_layers(layers, number(k.leading, 0, layers, 0), number(k.step, 1, MAX_WIDTH, 1))
    stated = checkpoint.integers(k.sparse, 0, layers - 1, None) if k.sparse else None
    has = tuple(i in stated for i in range(layers)) if stated is not None else sparse
    return Experts(
        count=count,
        used=checkpoint.integer(k.used, 1, count),
        intermediate=intermediate,
        gate=k.gate,
        normalize=checkpoint.flag(k.normalize, k.normalized) if k.normalize else k.normalized,
        scale=checkpoint.number(k.scale, 1.0, low=-1e6, high=1e6) if k.scale else 1.0,
        layers=tuple(there and i not in dense for i, there in enumerate(has)),
        shared=number(k.shared, 0, MAX_WIDTH, number(k.shared_count, 0, MAX_EXPERTS, 0) * intermediate),
        groups=_groups(count, groups, checkpoint.integer(k.groups[1], 1, groups), k.best_of_group, keys) if groups > 1 else None,
    )


def sparse_layers(layers: int, leading: int, step: int) -> tuple[bool, ...]:
    """For each layer whether it has experts: every `step`-th, but none of the `leading` ones."""
    return tuple(i >= leading and (i + 1) % step == 0 for i in range(layers))


def _groups(count: int, groups: int, used: int, best: int, keys: Keys) -> Groups:
    if count % groups or count // groups < best:
        raise MalformedFileError(f"{keys.checkpoint.key_file}: {groups} groups of {count} experts")
    return Groups(groups, used, best)
