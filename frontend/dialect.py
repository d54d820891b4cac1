"""What config.json says about windows, caps and activations, and where families say it: a `Dialect` each.

GGUF has one key for each of these; config.json has as many as it has families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmc.errors import UnsupportedModelError
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.experts import ExpertKeys

if TYPE_CHECKING:
    from llmc.frontend.config import Keys

SILU: Final = ("silu", "swish")
GELU_TANH: Final = ("gelu_pytorch_tanh", "gelu_new")
GELUS: Final = ("gelu", "gelu_python", "gelu_pytorch_tanh", "gelu_new", "gelu_fast")
FUNCTIONS: Final = {
    "silu": "silu", "swish": "silu", "gelu": "gelu_erf", "gelu_python": "gelu_erf", "gelu_pytorch_tanh": "gelu",
    "gelu_new": "gelu", "gelu_fast": "gelu", "relu2": "relu2", "relu": "relu", "xielu": "xielu",
}  # fmt: skip
"""Names of activations in config.json -> the op."""

MISTRAL_WINDOW: Final = 4096  # what a Mistral config without the key means
LOCAL_ROPE: Final = "rope_parameters.sliding_attention."
LOCAL_ROPE_BASE: Final = 10000.0
FULL: Final = "full_attention"  # in layer_types
MAX_LENGTH: Final = (1 << 32) - 1


@dataclass(frozen=True)
class Dialect:
    """activation_key, activations  the key of the feed-forward's function, and its names for the one that the family has
    experts       how the file says what experts are in the place of feed-forward blocks; None where none can be
    tied          whether the embedding serves as the output matrix where the file does not say
    windows       whether layers may have a window
    windowed      what layer_types calls a layer that has one
    rope_base     where the file does not say
    local_rope    whether layers with a window may rotate by a base of their own
    shaped        whether layers may differ in heads and widths; the family's adapt says how
    latent        whether heads share a latent (frontend/latent.py), in GGUF files as well
    recurrent     what layer_types calls layers with a state, where a family has such
    bidirectional whether tokens may see those after them
    plus_one      whether norms multiply by one more than what is stored
    """

    activation_key: str = "hidden_act"
    activations: tuple[str, ...] = SILU
    experts: ExpertKeys | None = None
    tied: bool = False
    windows: bool = False
    windowed: str = "sliding_attention"
    rope_base: float = 10000.0
    local_rope: bool = False
    recurrent: tuple[str, ...] = ()
    plus_one: bool = False
    latent: bool = False
    shaped: bool = False
    bidirectional: bool = False


PLAIN: Final = Dialect()


def huggingface_options(keys: Keys, dialect: Dialect, layers: int, context: int) -> dict[str, Any]:
    """Windows and caps as fields of the config. Raises MalformedFileError or UnsupportedModelError naming the key."""
    checkpoint = keys.checkpoint
    both = checkpoint.keys.get("use_bidirectional_attention")
    if both not in (None, False, "vision") and not dialect.bidirectional:  # images alone see both ways there
        raise UnsupportedModelError(f"{checkpoint.key_file}: use_bidirectional_attention is set; llmc compiles causal attention")
    return {
        "activation": _activation(checkpoint, dialect),
        "window": _window(checkpoint, dialect, context),
        "states_window": bool(checkpoint.keys.get("sliding_window")),
        "local_layers": _local_layers(checkpoint, dialect, layers),
        "local_rope_base": _local_rope_base(checkpoint) if dialect.local_rope else 0.0,
        "recurrent": _recurrent_layers(checkpoint, dialect, layers),
        "softcap": keys.factor("softcap") or 0.0,
        "logit_softcap": keys.factor("logit_softcap") or 0.0,
    }


def _window(checkpoint: Checkpoint, dialect: Dialect, context: int) -> int:
    """The window of the layers that have one, 0 for none."""
    mistral = checkpoint.architecture.startswith("Mistral")
    window = checkpoint.integer("sliding_window", 0, MAX_LENGTH, 0)
    if mistral and "sliding_window" not in checkpoint.keys:
        window = MISTRAL_WINDOW
    if window >= context or not checkpoint.flag("use_sliding_window", True):
        return 0
    if window and not (mistral or dialect.windows):
        raise UnsupportedModelError(
            f"{checkpoint.key_file}: sliding_window is {window}, below max_position_embeddings {context}; "
            f"llmc compiles {checkpoint.architecture} without windows"
        )
    return window


def _local_layers(checkpoint: Checkpoint, dialect: Dialect, layers: int) -> tuple[bool, ...] | None:
    """For each layer whether it has a window, None where the file leaves it to the family."""
    kinds = _layer_types(checkpoint, dialect, layers)
    if not dialect.windows:
        return None
    if kinds is None:
        every = checkpoint.integer("sliding_window_pattern", 1, MAX_LENGTH, 0)
        return tuple((i + 1) % every != 0 for i in range(layers)) if every else None
    return tuple(kind == dialect.windowed for kind in kinds)


def _recurrent_layers(checkpoint: Checkpoint, dialect: Dialect, layers: int) -> tuple[bool, ...]:
    """For each layer whether it has a state, empty where none has."""
    kinds = _layer_types(checkpoint, dialect, layers) if dialect.recurrent else None
    return tuple(kind in dialect.recurrent for kind in kinds or ())


def _layer_types(checkpoint: Checkpoint, dialect: Dialect, layers: int) -> tuple[str, ...] | None:
    """What the file says each layer is, None where it does not."""
    kinds = checkpoint.strings("layer_types", None)
    known = (FULL, *((dialect.windowed,) if dialect.windows else ()), *dialect.recurrent)
    known = (*known, "attention") if dialect.recurrent else known
    for i, kind in enumerate(kinds or ()):
        if kind not in known:
            what = f"{checkpoint.key_file}: layer_types is {quoted(kind)} for layer {i}"
            raise UnsupportedModelError(f"{what}; llmc can compile {' and '.join(known)}")
    if kinds is None:
        return None
    if len(kinds) != layers and (dialect.windows or dialect.recurrent):
        raise checkpoint.wrong("layer_types", f"has {len(kinds)} elements, expected one for each of {layers} layers")
    return tuple(kinds)


def _local_rope_base(checkpoint: Checkpoint) -> float:
    """The base that layers with a window rotate by, at the positions as they are; 0 where the file does not say."""
    for key in checkpoint.keys:
        if key.startswith(LOCAL_ROPE) and key.removeprefix(LOCAL_ROPE) not in ("rope_theta", "rope_type"):
            raise UnsupportedModelError(f"{checkpoint.key_file}: llmc cannot compile layers with a window by {quoted(key)}")
    kind = checkpoint.string(f"{LOCAL_ROPE}rope_type", "default")
    if kind != "default":
        raise UnsupportedModelError(f"{checkpoint.key_file}: {LOCAL_ROPE}rope_type is {quoted(kind)}; llmc can compile default")
    old = checkpoint.number("rope_local_base_freq", 0.0, low=1e-3, high=1e12)
    return checkpoint.number(f"{LOCAL_ROPE}rope_theta", old, low=1e-3, high=1e12)


def _activation(checkpoint: Checkpoint, dialect: Dialect) -> str:
    """The op of the feed-forward's function, one of those that the family has."""
    key = dialect.activation_key
    activation = checkpoint.string(key, dialect.activations[0])
    if activation not in dialect.activations:
        known = ", ".join(dialect.activations)
        raise UnsupportedModelError(f"{checkpoint.key_file}: {key} is {quoted(activation)}; llmc can compile {known}")
    return FUNCTIONS[activation]
