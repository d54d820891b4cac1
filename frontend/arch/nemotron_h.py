"""Nemotron-H: layers of one part each, a Mamba-2, attention without positions, or a feed-forward block of squared ReLUs.

arXiv:2504.03624. Model directories have one class for it and Nemotron 3: nemotron_h_moe.py reads them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.arch import ATTENTION, EXPERTS, Architecture, biases, mamba2_names
from llmc.frontend.checkpoint import Checkpoint, quoted
from llmc.frontend.config import MAX_DIM, Config, Keys
from llmc.frontend.derived import negated_exp
from llmc.frontend.dialect import Dialect
from llmc.frontend.layers import Step, attention, mlp, norm, residual
from llmc.frontend.layers_experts import ungated_mixture
from llmc.frontend.layers_recurrent import mamba2
from llmc.frontend.recurrent import MAX_HEADS, gguf_ssm, huggingface_ssm
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

HF_SIZES = {
    "state": "ssm_state_size", "taps": "conv_kernel", "heads": "mamba_num_heads", "groups": "n_groups",
    "head_dim": "mamba_head_dim",
}  # fmt: skip
PARTS: Final = {
    "M": "recurrent", "*": "attention", "-": "feed_forward", "E": "experts",
    "mamba": "recurrent", "linear_attention": "recurrent", "attention": "attention", "full_attention": "attention",
    "mlp": "feed_forward", "moe": "experts",
}  # fmt: skip
"""What config.json calls the parts: letters of a pattern, or words."""


def block(s: Step, x: Value, w: Weights) -> Value:
    """x: [T, hidden] -> [T, hidden]."""
    part, normed = s.config.parts[s.layer], norm(s, x, w, "attn.norm")
    if part == "recurrent":
        return residual(s, x, mamba2(s, normed, w))
    if part == "attention":
        return residual(s, x, attention(s, normed, w))
    if part == "experts":
        return residual(s, x, ungated_mixture(s, normed, w, "relu2", gate="sigmoid", normalize=True))
    return residual(s, x, mlp(s, normed, w, "relu2"))


def adapt(config: Config, keys: Keys) -> Config:
    parts = _gguf_parts(config, keys) if keys.gguf else _stated(keys.checkpoint)
    if len(parts) != config.layers:
        raise MalformedFileError(f"{keys.name('layers')} is {config.layers}, but {len(parts)} layers are described")
    sparse = tuple(part == "experts" for part in parts)
    latent = keys.integer("moe_latent_size", low=0, default=0) if keys.gguf else _latent(keys.checkpoint)
    experts = replace(config.experts, layers=sparse, latent=latent) if config.experts and any(sparse) else None
    recurrent = tuple(part == "recurrent" for part in parts)
    ssm = (gguf_ssm(keys) if keys.gguf else _huggingface_ssm(keys)) if any(recurrent) else None
    return replace(config, parts=parts, recurrent=recurrent, experts=experts, ssm=ssm, rope_dims=0)


def _gguf_parts(config: Config, keys: Keys) -> tuple[str, ...]:
    """Layers have keys and values, or feed-forward features, or neither; experts are there by their router."""
    kv_heads, wide = (keys.checkpoint.integers(keys.name(key), 0, MAX_DIM) for key in ("kv_heads", "intermediate"))
    if len(kv_heads) != config.layers or len(wide) != config.layers:
        raise MalformedFileError(f"{keys.name('kv_heads')} and {keys.name('intermediate')} must have a number for each layer")
    router = EXPERTS["ffn.router"][0]
    forward = ["experts" if router.format(i=i) in keys.checkpoint.tensors else "feed_forward" for i in range(config.layers)]
    return tuple(
        "attention" if heads else forward[i] if width else "recurrent"
        for i, (heads, width) in enumerate(zip(kv_heads, wide, strict=True))
    )


def _huggingface_ssm(keys: Keys) -> Any:
    checkpoint = keys.checkpoint
    heads, head_dim = (checkpoint.integer(HF_SIZES[name], 1, MAX_HEADS) for name in ("heads", "head_dim"))
    return huggingface_ssm(checkpoint, HF_SIZES, heads * head_dim)


def _latent(checkpoint: Checkpoint) -> int:
    return checkpoint.integer("moe_latent_size", 0, MAX_DIM, 0)


def _stated(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The parts as config.json says them, by words or a pattern of letters."""
    key = "layers_block_type" if checkpoint.keys.get("layers_block_type") is not None else "hybrid_override_pattern"
    words = checkpoint.strings(key) if key == "layers_block_type" else tuple(checkpoint.string(key))
    for i, word in enumerate(words):
        if word not in PARTS:
            what = f"{checkpoint.key_file}: {key} is {quoted(word)} for layer {i}"
            raise UnsupportedModelError(f"{what}; llmc can compile {', '.join(PARTS)}")
    return tuple(PARTS[word] for word in words)


def implied(keys: Keys) -> Mapping[str, Any]:
    """Files need not say how many layers they describe. Without experts they do not say how many."""
    checkpoint = keys.checkpoint
    return {
        "num_hidden_layers": len(_stated(checkpoint)), "use_conv_bias": True, "n_routed_experts": 0,
        "rms_norm_eps": checkpoint.number("layer_norm_epsilon", 1e-5, low=0.0, high=1.0),
    }  # fmt: skip


MIXER = "backbone.layers.{i}.mixer"
FORWARD = {
    "ffn.up": ("blk.{i}.ffn_up.weight", f"{MIXER}.up_proj.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", f"{MIXER}.down_proj.weight"),
}
MIXED = {
    name: (gguf, f"{MIXER}.{hf}_proj.weight")
    for name, gguf, hf in (
        ("attn.q", "blk.{i}.attn_q.weight", "q"),
        ("attn.k", "blk.{i}.attn_k.weight", "k"),
        ("attn.v", "blk.{i}.attn_v.weight", "v"),
        ("attn.out", "blk.{i}.attn_output.weight", "o"),
    )
}
NEMOTRON_H = Architecture(
    gguf="nemotron_h",
    papers="arXiv:2504.03624",
    weights={
        "attn.norm": ("blk.{i}.attn_norm.weight", "backbone.layers.{i}.norm.weight"),
        **FORWARD,
        **biases(*FORWARD, of=FORWARD),
    },
    attention={**MIXED, **biases(*MIXED, of=MIXED)},
    recurrent=mamba2_names(MIXER),
    rope="half",
    block=block,
    hf_biases={
        "attention_bias": ATTENTION, "use_conv_bias": ("ssm.conv",), "use_bias": ("ssm.in", "ssm.out"),
        "mlp_bias": tuple(FORWARD),
    },
    dialect=Dialect(activation_key="mlp_hidden_act", activations=("relu2",)),
    model={
        "embedding": ("token_embd.weight", "backbone.embeddings.weight"),
        "norm": ("output_norm.weight", "backbone.norm_f.weight"),
    },
    hf_stored={"ssm.a": lambda tensor, config: negated_exp(tensor)},
    implied=implied,
    adapt=adapt,
)  # fmt: skip
