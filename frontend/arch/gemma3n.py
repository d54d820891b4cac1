"""Gemma 3n, the language model: Gemma 3's attention on one of several streams, a residual of low rank, rows for each layer.

Values are normalised as well; the last layers attend to keys and values of earlier ones. The first feed-forward blocks keep only
the few features that stand out. https://ai.google.dev/gemma/docs/gemma-3n, arXiv:2506.06644 (sparse features).
"""

import math
from dataclasses import replace

from llmc.errors import UnsupportedModelError
from llmc.frontend import layers_altup, layers_per_layer
from llmc.frontend.arch import DECODER, QK_NORMS, Architecture
from llmc.frontend.arch.gemma2 import DIALECT, NORMS
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Altup, Config, Keys
from llmc.frontend.dialect import LOCAL_ROPE_BASE
from llmc.frontend.layers import Step, attention, linear, linears, norm
from llmc.frontend.normal_distribution import deviations
from llmc.frontend.views import view
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 5
SPARSE_LAYERS, SPARSE_SHARE = 10, 0.95  # where a file does not say, and has more layers
CAP = 30.0  # of logits, where a file does not say
MAX_WIDTH = 1 << 16
OF_CACHES = r"(blk\.\d+\.attn_(k|v|k_norm)|model\.layers\.\d+\.self_attn\.(k_proj|v_proj|k_norm|v_norm))\.weight"


def enter(s: Step, x: Value, tokens: Value, w: Weights) -> Value:
    s.per_layer = layers_per_layer.per_layer_rows(s, x, tokens, w)
    x, *others = layers_altup.split(s, x, w)
    s.streams = tuple(others)
    return x


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden], the first stream -> [T, hidden]."""
    altup = s.config.altup
    assert altup is not None
    predictions = layers_altup.predict(s, (x, *s.streams), w, altup)
    active = predictions[altup.active]
    normed = norm(s, active, w, "attn.norm")
    residual = layers_altup.laurel(s, normed, w)
    local, shares = s.local(WINDOW_EVERY), s.config.shares(s.layer)
    mixed = norm(s, attention(s, normed, w, qk_norm=True, v_norm=True, local=local, shares=shares), w, "attn.post_norm")
    mixed = s.emit("add", s.emit("add", active, mixed, name="x"), residual, name="x")
    mixed = s.emit("scale", mixed, name="x", factor=math.sqrt(0.5))
    fed = norm(s, feed_forward(s, norm(s, mixed, w, "ffn.norm"), w), w, "ffn.post_norm")
    x, *others = layers_altup.correct(s, predictions, s.emit("add", mixed, fed, name="x"), w, altup)
    first = (x, *others)[altup.active]
    if altup.scaled:
        first = s.emit("scale_columns", first, w.vector("altup.scale", s.config.hidden), name="first")
    branch = layers_per_layer.per_layer_branch(s, first, w)
    s.streams = tuple(s.emit("add", each, branch, name="stream") for each in others)
    return x


def feed_forward(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: GeGLU, whose gate is cut down to what stands out where the config says so."""
    c = s.config
    gate, up = linears(s, x, w, "", dict.fromkeys(("ffn.gate", "ffn.up"), c.intermediate), c.hidden)
    cut = c.sparsity[s.layer]
    if cut is not None:
        gate = s.emit("sparsify", gate, name="gate", deviations=cut)
    product = s.emit("mul", s.emit("gelu", gate), up, name="gelu_mul")
    return linear(s, product, w, "ffn.down", c.hidden, c.intermediate)


def leave(s: Step, x: Value, w: Weights) -> Value:
    return layers_altup.merge(s, (x, *s.streams), w)


def adapt(config: Config, keys: Keys) -> Config:
    """Embeddings are scaled, scores are not; the window must be stated."""
    keys.integer("window")
    local = config.local_layers or tuple((i + 1) % WINDOW_EVERY != 0 for i in range(config.layers))
    owners = config.layers - _integer(keys, "attention.shared_kv_layers", "num_kv_shared_layers", 0, config.layers - 1)
    if set(local[:owners]) != set(local):
        raise UnsupportedModelError(f"no layer of a kind with keys and values of its own among the first {owners}")
    return replace(
        config,
        local_layers=local,
        own_caches=owners,
        per_layer=_integer(keys, "embedding_length_per_layer_input", "hidden_size_per_layer_input", 1, MAX_WIDTH),
        altup=_altup(keys),
        sparsity=_gguf_sparsity(keys, config.layers) if keys.gguf else _huggingface_sparsity(keys.checkpoint, config.layers),
        embedding_scale=math.sqrt(config.hidden),
        attention_scale=1.0,
        logit_softcap=config.logit_softcap or CAP,
        local_rope_base=config.local_rope_base or LOCAL_ROPE_BASE,
    )


def _integer(keys: Keys, gguf: str, hf: str, low: int, high: int) -> int:
    return keys.checkpoint.integer(keys.name(gguf) if keys.gguf else hf, low, high)


def _altup(keys: Keys) -> Altup:
    inputs = _integer(keys, "altup.num_inputs", "altup_num_inputs", 1, MAX_WIDTH)
    if inputs != layers_altup.INPUTS:
        name = keys.name("altup.num_inputs") if keys.gguf else "altup_num_inputs"
        raise UnsupportedModelError(f"{name} is {inputs}; llmc can compile {layers_altup.INPUTS}")
    active = _integer(keys, "altup.active_idx", "altup_active_idx", 0, inputs - 1)
    return Altup(inputs, active, keys.gguf or keys.checkpoint.flag("altup_correct_scale", True))


def _gguf_sparsity(keys: Keys, layers: int) -> tuple[float | None, ...]:
    """Numbers of deviations; minus infinity where there is none."""
    name = keys.name("activation_sparsity_scale")
    values = keys.checkpoint.numbers(name, None)
    if values is None:
        return _by_share(_usual(layers))
    if len(values) != layers:
        raise keys.checkpoint.wrong(name, f"has {len(values)} elements, expected one for each of {layers} layers")
    return tuple(float(x) if math.isfinite(x) else None for x in values)


def _huggingface_sparsity(checkpoint: Checkpoint, layers: int) -> tuple[float | None, ...]:
    """Shares of features that are cut off, for each layer."""
    key = "activation_sparsity_pattern"
    stated = checkpoint.numbers(key, None)
    shares = _usual(layers) if stated is None else tuple(map(float, stated))
    if len(shares) != layers:
        raise checkpoint.wrong(key, f"has {len(shares)} elements, expected one for each of {layers} layers")
    if any(not 0.0 <= share < 1.0 for share in shares):
        raise checkpoint.wrong(key, "holds a share that is not in 0 .. 1")
    return _by_share(shares)


def _usual(layers: int) -> tuple[float, ...]:
    return tuple(SPARSE_SHARE if layers > SPARSE_LAYERS > i else 0.0 for i in range(layers))


def _by_share(shares: tuple[float, ...]) -> tuple[float | None, ...]:
    return tuple(deviations(share) if share else None for share in shares)


def views(checkpoint: Checkpoint, config: Config) -> dict[str, Derived]:
    """GGUF files have the matrices between streams in one tensor each."""
    shown: dict[str, Derived] = {}
    for name in ("altup_proj", "altup_unembd_proj") if checkpoint.container == "gguf" else ():
        source = checkpoint.tensors.get(f"{name}.weight")
        if source is None or len(source.shape) != 3:
            continue
        count, rows = source.shape[:2]
        for j in range(count):
            part = f"{name}.{j}.weight"
            shown[part] = view(source, part, rows=slice(j * rows, (j + 1) * rows), flat=True)
    return shown


GEMMA3N = Architecture(
    gguf="gemma3n",
    papers="Gemma documentation, gemma-3n; arXiv:2301.13310, arXiv:2411.07501, arXiv:2506.06644",
    weights={**DECODER, **NORMS, **QK_NORMS, **layers_altup.LAYER_NAMES, **layers_per_layer.LAYER_NAMES},
    model={**layers_altup.NAMES, **layers_per_layer.NAMES},
    rope="half",
    block=block,
    enter=enter,
    leave=leave,
    optional=("attn.k", "attn.v", "attn.k_norm"),
    hf=("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
    dialect=replace(DIALECT, rope_base=1e6, local_rope=True, plus_one=False),
    unused=(OF_CACHES,),
    views=views,
    adapt=adapt,
)
