"""The encoder of T5: scores joined by a bias of each head for the distance, RMS norms, no scale, no rotation.  arXiv:1910.10683.

The first layer's biases serve all layers, but for those that have their own (UMT5, arXiv:2304.09151). Feed-forward blocks are
ReLU without a gate, or gated by GELU (T5 1.1, arXiv:2002.05202).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.errors import UnsupportedModelError
from llmc.frontend.arch import Architecture
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.encoder import attention_both, bucket_starts
from llmc.frontend.layers import Step, gated, linear, norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

LAYER = "encoder.block.{i}.layer."
NAMES = {
    "attn.norm": ("enc.blk.{i}.attn_norm.weight", f"{LAYER}0.layer_norm.weight"),
    "attn.q": ("enc.blk.{i}.attn_q.weight", f"{LAYER}0.SelfAttention.q.weight"),
    "attn.k": ("enc.blk.{i}.attn_k.weight", f"{LAYER}0.SelfAttention.k.weight"),
    "attn.v": ("enc.blk.{i}.attn_v.weight", f"{LAYER}0.SelfAttention.v.weight"),
    "attn.out": ("enc.blk.{i}.attn_o.weight", f"{LAYER}0.SelfAttention.o.weight"),
    "attn.distances": ("enc.blk.{i}.attn_rel_b.weight", f"{LAYER}0.SelfAttention.relative_attention_bias.weight"),
    "ffn.norm": ("enc.blk.{i}.ffn_norm.weight", f"{LAYER}1.layer_norm.weight"),
    "ffn.gate": ("enc.blk.{i}.ffn_gate.weight", f"{LAYER}1.DenseReluDense.wi_0.weight"),
    "ffn.up": ("enc.blk.{i}.ffn_up.weight", f"{LAYER}1.DenseReluDense.wi_1.weight"),
    "ffn.alone": ("", f"{LAYER}1.DenseReluDense.wi.weight"),
    "ffn.down": ("enc.blk.{i}.ffn_down.weight", f"{LAYER}1.DenseReluDense.wo.weight"),
}
BUCKETS, FURTHEST, CONTEXT = 32, 128, 512  # where the file does not say
MAX_BUCKETS, MAX_DISTANCE = 512, 1 << 16


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    c = s.config
    if s.layer == 0 or w.has("attn.distances"):
        table = w.table("attn.distances", 2 * len(c.distances), c.heads)
        s.distance_bias = s.emit("bucket_bias", table, name="distances", starts=c.distances, span=s.most_tokens)
    x = s.emit("add", x, attention_both(s, norm(s, x, w, "attn.norm"), w, bias=s.distance_bias), name="x")
    return s.emit("add", x, feed_forward(s, norm(s, x, w, "ffn.norm"), w), name="x")


def feed_forward(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden], with a gate where the file has one."""
    c = s.config
    if w.has("ffn.gate"):
        return gated(s, x, w, c.activation or "gelu")
    alone = linear(s, x, w, "ffn.alone" if w.has("ffn.alone") else "ffn.up", c.intermediate, c.hidden)
    return linear(s, s.emit(c.activation or "relu", alone), w, "ffn.down", c.hidden, c.intermediate)


def implied(keys: Keys) -> Mapping[str, Any]:
    """T5's names of what others call otherwise."""
    get = keys.checkpoint.keys.get
    function = str(get("feed_forward_proj") or "relu")
    names = {
        "intermediate_size": "d_ff", "num_hidden_layers": "num_layers", "num_attention_heads": "num_heads", "head_dim": "d_kv",
        "rms_norm_eps": "layer_norm_epsilon", "max_position_embeddings": "n_positions",
    }  # fmt: skip
    known = {name: get(theirs) for name, theirs in names.items() if get(theirs) is not None}
    activation = "gelu_new" if function == "gated-gelu" else function.removeprefix("gated-")
    return {"max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, **known, "hidden_act": activation}


def adapt(config: Config, keys: Keys) -> Config:
    """Nothing rotates, scores are not scaled; where buckets of distances begin."""
    name = keys.name("attention.relative_buckets_count") if keys.gguf else "relative_attention_num_buckets"
    buckets = keys.checkpoint.integer(name, 4, MAX_BUCKETS, BUCKETS)
    furthest = FURTHEST if keys.gguf else keys.checkpoint.integer("relative_attention_max_distance", 2, MAX_DISTANCE, FURTHEST)
    if buckets % 2 or furthest <= buckets // 4:
        raise UnsupportedModelError(f"{name} is {buckets}, of distances up to {furthest}: llmc cannot share them out")
    return replace(config, rope_dims=0, attention_scale=1.0, distances=bucket_starts(buckets // 2, furthest))


T5ENCODER = Architecture(
    gguf="t5encoder",
    papers="arXiv:1910.10683, arXiv:2002.05202",
    weights=NAMES,
    rope="half",
    block=block,
    hf=("T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"),
    dialect=Dialect(activations=("relu", "gelu_new", "gelu", "silu")),
    optional=("attn.distances", "ffn.gate", "ffn.up", "ffn.alone"),
    model={
        "embedding": ("token_embd.weight", "shared.weight"),
        "norm": ("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
        "head": "",
    },
    encoder=True,
    unused=(r"encoder\.embed_tokens\.weight",),
    implied=implied,
    adapt=adapt,
)
