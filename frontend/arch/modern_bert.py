"""ModernBERT: an encoder with norms before each block, rotation, GeGLU; two layers see their neighbourhood, every third all.

Layers with a window rotate by a base of their own; the window is as wide to both sides together.  arXiv:2412.13663.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmc.frontend.arch import Architecture, biases
from llmc.frontend.classifier import Classifier
from llmc.frontend.config import Config, Keys
from llmc.frontend.dialect import Dialect
from llmc.frontend.encoder import attention_both
from llmc.frontend.layers import Step, gated, norm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

GLOBAL_EVERY = 3
NAMES = {
    "attn.norm": ("blk.{i}.attn_norm.weight", "model.layers.{i}.attn_norm.weight"),
    "attn.qkv": ("blk.{i}.attn_qkv.weight", "model.layers.{i}.attn.Wqkv.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", "model.layers.{i}.attn.Wo.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", "model.layers.{i}.mlp_norm.weight"),
    "ffn.gate_up": ("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.Wi.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", "model.layers.{i}.mlp.Wo.weight"),
}


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    c = s.config
    local = c.window > 0 and s.layer % c.global_every != 0
    table = s.local_rope_table if local else s.rope_table
    normed = x if s.layer == 0 else norm(s, x, w, "attn.norm")  # the embedding has been normalised
    x = s.emit("add", x, attention_both(s, normed, w, reach=c.window // 2 if local else 0, table=table), name="x")
    return s.emit("add", x, gated(s, norm(s, x, w, "ffn.norm"), w, c.activation or "gelu_erf"), name="x")


def implied(keys: Keys) -> Mapping[str, Any]:
    """transformers' defaults of what config.json may leave out, and its names for what others call otherwise."""
    get = keys.checkpoint.keys.get
    return {
        "layer_norm_eps": get("norm_eps") or 1e-5,
        "rope_theta": get("global_rope_theta") or 160000.0,
    }


def adapt(config: Config, keys: Keys) -> Config:
    """Where the windows are."""
    if keys.gguf:
        every = keys.checkpoint.integer(keys.name("attention.sliding_window_pattern"), 1, 1 << 16, GLOBAL_EVERY)
        return replace(config, global_every=every, local_rope_base=config.local_rope_base or 10000.0)
    checkpoint = keys.checkpoint
    every = checkpoint.integer("global_attn_every_n_layers", 1, 1 << 16, GLOBAL_EVERY)
    window = checkpoint.integer("local_attention", 1, 1 << 24, 128)
    local = config.local_rope_base or checkpoint.number("local_rope_theta", 10000.0, low=1e-3, high=1e12)
    return replace(config, window=window, global_every=every, local_rope_base=local)


MODERN_BERT = Architecture(
    gguf="modern-bert",
    papers="arXiv:2412.13663",
    weights={**NAMES, **biases(*NAMES, of=NAMES)},
    rope="half",
    block=block,
    hf=("ModernBertModel", "ModernBertForMaskedLM"),
    hf_prefix="model.",
    dialect=Dialect(activation_key="hidden_activation", activations=("gelu", "gelu_pytorch_tanh"), windows=True, local_rope=True),
    norm="layer_norm",
    optional=("attn.norm",),
    model={
        "embedding": ("token_embd.weight", "model.embeddings.tok_embeddings.weight"),
        "embedding.norm": ("token_embd_norm.weight", "model.embeddings.norm.weight"),
        "norm": ("output_norm.weight", "model.final_norm.weight"),
        "head": "",
    },
    encoder=True,
    classifiers={
        "ModernBertForSequenceClassification": Classifier(
            {"cls.dense": "head.dense.weight", "cls.norm": "head.norm.weight", "cls.out": "classifier.weight"},
            function="gelu_erf", function_key="classifier_activation", poolings={"cls": "cls", "mean": "mean"},
        )
    },  # fmt: skip
    unused=(r"head\..*", r"decoder\..*"),
    implied=implied,
    adapt=adapt,
)
