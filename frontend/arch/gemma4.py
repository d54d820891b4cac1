"""Gemma 4, the language model: layers with a window and others have heads of their own; keys may serve as values.

Values are normalised as well. Larger heads rotate a share of their pairs. The last layers may attend to keys and values of
earlier ones and have wider feed-forward blocks; each layer may have rows of its own for a token (Gemma 3n), and experts beside
its feed-forward block. https://ai.google.dev/gemma/docs/core
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend import layers_per_layer
from llmc.frontend.arch import DECODER, EXPERTS, QK_NORMS, Architecture, without
from llmc.frontend.arch.gemma2 import DIALECT, NORMS
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config, Keys, LayerShape
from llmc.frontend.dialect import LOCAL_ROPE_BASE
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.layers import Step, attention, experts, linear, linears, norm, ones, rms_norm
from llmc.frontend.views import fused_experts, gguf_fused_experts
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

WINDOW_EVERY = 6
GLOBAL_HEAD_DIM = 512  # where a directory does not say
MAX_WIDTH = 1 << 16
MAX_HEADS = 1 << 16
CLASSES = ("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration")
LAYER = "model.layers.{i}"
OF_CACHES = r"(blk\.\d+\.attn_(k|v|k_norm)|model\.layers\.\d+\.self_attn\.(k_proj|v_proj|k_norm|v_norm))\.weight"


def enter(s: Step, x: Value, tokens: Value, w: Weights) -> Value:
    if s.config.per_layer:
        s.per_layer = layers_per_layer.per_layer_rows(s, x, tokens, w)
    return x


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    c, local = s.config, s.local(WINDOW_EVERY)
    serve = not local and (not w.has("attn.v") if c.keys_serve is None else c.keys_serve)
    mixed = attention(
        s, norm(s, x, w, "attn.norm"), w, qk_norm=True, v_norm=True, local=local, shares=c.shares(s.layer), keys_serve=serve
    )
    x = s.emit("add", x, norm(s, mixed, w, "attn.post_norm"), name="x")
    fed = feed_forward(s, norm(s, x, w, "ffn.norm"), w)
    if c.has_experts(s.layer):
        fed = s.emit("add", norm(s, fed, w, "ffn.post_norm_1"), routed(s, x, w), name="fed")
    x = s.emit("add", x, norm(s, fed, w, "ffn.post_norm"), name="x")
    if c.per_layer:
        x = s.emit("add", x, layers_per_layer.per_layer_branch(s, x, w), name="x")
    return s.emit("scale", x, name="x", factor=w.number("layer.scale")) if w.has("layer.scale") else x


def feed_forward(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C] -> [T, C]: GeGLU, in every layer, whether it has experts or not."""
    c = s.config
    gate, up = linears(s, x, w, "", dict.fromkeys(("mlp.gate", "mlp.up"), c.intermediate), c.hidden)
    product = s.emit("mul", s.emit("gelu", gate), up, name="gelu_mul")
    return linear(s, product, w, "mlp.down", c.hidden, c.intermediate)


def routed(s: Step, x: Value, w: Weights) -> Value:
    """x [T, C], the residual stream -> [T, C]: its experts, whose router reads x normalised by weights of its own."""
    c, e = s.config, s.config.experts
    assert e is not None
    read = s.emit("scale_columns", rms_norm(s, x, ones(s, c.hidden), "routed"), w.vector("ffn.router_factors", c.hidden))
    logits = s.emit("scale", linear(s, read, w, "ffn.router", e.count, c.hidden), name="ffn.router", factor=c.hidden**-0.5)
    mixed = experts(s, norm(s, x, w, "ffn.norm_2"), w, normalize=True, logits=logits, function="gelu")
    return norm(s, mixed, w, "ffn.post_norm_2")


def adapt(config: Config, keys: Keys) -> Config:
    """Embeddings are scaled, scores are not; the window must be stated."""
    keys.integer("window")
    local = config.local_layers or tuple((i + 1) % WINDOW_EVERY != 0 for i in range(config.layers))
    shared = _integer(keys, "attention.shared_kv_layers", "num_kv_shared_layers", config.layers - 1)
    owners = config.layers - shared
    if set(local[:owners]) != set(local):
        raise UnsupportedModelError(f"no layer of a kind with keys and values of its own among the first {owners}")
    shapes = (_gguf_shapes if keys.gguf else _huggingface_shapes)(config, keys, local, owners)
    _check(shapes, local)
    last, first = (next((s for s, mine in zip(shapes, local, strict=True) if mine == kind), shapes[0]) for kind in (False, True))
    return replace(
        config,
        shapes=shapes,
        local_layers=local,
        own_caches=owners,
        per_layer=_integer(keys, "embedding_length_per_layer_input", "hidden_size_per_layer_input", MAX_WIDTH),
        keys_serve=None if keys.gguf else keys.checkpoint.flag("attention_k_eq_v", False),
        embedding_scale=math.sqrt(config.hidden),
        attention_scale=1.0,
        rope_dims=config.rope_dims if keys.gguf else _turning(config, last),
        local_rope_dims=keys.integer("rope.dimension_count_swa", default=first.head_dim) if keys.gguf else first.head_dim,
        local_rope_base=config.local_rope_base or LOCAL_ROPE_BASE,
    )


def _turning(config: Config, shape: LayerShape) -> int:
    """Features that rotate in layers without a window: where their share is stated, the rest by nothing."""
    return shape.head_dim if config.rope_scaling.kind == "proportional" else shape.head_dim * config.rope_dims // config.head_dim


def _integer(keys: Keys, gguf: str, hf: str, high: int) -> int:
    return keys.checkpoint.integer(keys.name(gguf) if keys.gguf else hf, 0, high, 0)


def _gguf_shapes(config: Config, keys: Keys, local: tuple[bool, ...], owners: int) -> tuple[LayerShape, ...]:
    kv_heads, features = keys.each_layer("kv_heads", config.layers), keys.each_layer("intermediate", config.layers)
    of_local = keys.integer("attention.key_length_swa", high=4096, default=config.head_dim)
    if keys.integer("attention.value_length_swa", high=4096, default=of_local) != of_local:
        raise UnsupportedModelError(f"{keys.name('attention.value_length_swa')} is not that of keys, {of_local}")
    widths = (of_local if each else config.head_dim for each in local)
    return tuple(LayerShape(config.heads, *shape) for shape in zip(kv_heads, widths, features, strict=True))


def _huggingface_shapes(config: Config, keys: Keys, local: tuple[bool, ...], owners: int) -> tuple[LayerShape, ...]:
    """Layer by layer in newer files; older ones have keys for layers without a window."""
    checkpoint = keys.checkpoint
    wide = 2 if checkpoint.flag("use_double_wide_mlp", False) else 1
    listed = any(key.startswith("per_layer_config.") for key in checkpoint.keys)
    head_dim = checkpoint.integer("global_head_dim", 1, 4096, config.head_dim if listed else GLOBAL_HEAD_DIM)
    serve = checkpoint.flag("attention_k_eq_v", False)
    kv_heads = checkpoint.integer("num_global_key_value_heads", 1, MAX_HEADS, config.kv_heads) if serve else config.kv_heads

    def shape(i: int) -> LayerShape:
        heads, width = (config.kv_heads, config.head_dim) if local[i] or listed else (kv_heads, head_dim)
        heads = checkpoint.integer(f"per_layer_config.{i}.num_key_value_heads", 1, MAX_HEADS, heads)
        width = checkpoint.integer(f"per_layer_config.{i}.head_dim", 1, 4096, width)
        return LayerShape(config.heads, heads, width, config.intermediate * (wide if i >= owners else 1))

    return tuple(map(shape, range(config.layers)))


def _check(shapes: tuple[LayerShape, ...], local: tuple[bool, ...]) -> None:
    """Layers of one kind have heads of one kind, or they could not share keys and values, nor how they rotate."""
    for kind in set(local):
        heads = {(s.kv_heads, s.head_dim) for s, mine in zip(shapes, local, strict=True) if mine == kind}
        if len(heads) != 1:
            raise UnsupportedModelError(f"layers {'with' if kind else 'without'} a window differ in their heads: {sorted(heads)}")
    for s in shapes:
        if s.heads % s.kv_heads or s.head_dim % 2:
            raise MalformedFileError(f"{s.heads} heads of {s.head_dim} features, and {s.kv_heads} for keys and values")


def views(checkpoint: Checkpoint, config: Config) -> Mapping[str, Derived]:
    if checkpoint.container == "gguf":
        return gguf_fused_experts(checkpoint.tensors, config.layers)
    return fused_experts(checkpoint.tensors, f"{LAYER}.experts", config.layers, transposed=False)


GEMMA4 = Architecture(
    gguf="gemma4",
    papers="Gemma documentation, core",
    weights={
        **without("ffn.gate", "ffn.up", "ffn.down"),
        **{f"mlp.{name}": DECODER[f"ffn.{name}"] for name in ("gate", "up", "down")},
        **NORMS,
        **QK_NORMS,
        **layers_per_layer.LAYER_NAMES,
        "layer.scale": ("blk.{i}.layer_output_scale.weight", f"{LAYER}.layer_scalar"),
    },
    model=layers_per_layer.NAMES,
    rope="half",
    block=block,
    enter=enter,
    optional=("attn.k", "attn.v", "attn.k_norm", "layer.scale", *layers_per_layer.LAYER_NAMES),
    hf=CLASSES,
    dialect=replace(
        DIALECT,
        rope_base=1e6,
        local_rope=True,
        plus_one=False,
        shaped=True,
        experts=ExpertKeys(CLASSES, used="top_k_experts", enabled="enable_moe_block"),
    ),
    experts={
        **{name: (gguf, hf.replace(".mlp.", ".")) for name, (gguf, hf) in EXPERTS.items()},
        "ffn.router": ("blk.{i}.ffn_gate_inp.weight", f"{LAYER}.router.proj.weight"),
        "ffn.router_factors": ("blk.{i}.ffn_gate_inp.scale", f"{LAYER}.router.scale"),
        "ffn.expert_factors": ("blk.{i}.ffn_down_exps.scale", f"{LAYER}.router.per_expert_scale"),
        "ffn.norm_2": ("blk.{i}.pre_ffw_norm_2.weight", f"{LAYER}.pre_feedforward_layernorm_2.weight"),
        "ffn.post_norm_1": ("blk.{i}.post_ffw_norm_1.weight", f"{LAYER}.post_feedforward_layernorm_1.weight"),
        "ffn.post_norm_2": ("blk.{i}.post_ffw_norm_2.weight", f"{LAYER}.post_feedforward_layernorm_2.weight"),
    },
    unused=(OF_CACHES,),
    views=views,
    adapt=adapt,
)
