"""Architectures: one file each, found by file name. A file holds an `Architecture` named like the file in capitals."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmc.frontend.checkpoint import Checkpoint, Derived, Tensor
from llmc.frontend.classifier import Classifier
from llmc.frontend.config import LONG_FACTORS, Config, Keys, read_config, read_recurrent_config
from llmc.frontend.derived import Rewritten, norms_plus_one
from llmc.frontend.dialect import PLAIN, Dialect
from llmc.frontend.huggingface import HuggingFace
from llmc.frontend.layers import Step
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

Block = Callable[[Step, Value, Weights], Value]
Names = Mapping[str, str | tuple[str, str]]
ALWAYS = ""  # in place of a flag of config.json
CAUSAL, BARE, SCORING = "ForCausalLM", "Model", "ForSequenceClassification"  # what ends the names of a decoder's classes

MODEL_NAMES: Names = {
    "embedding": ("token_embd.weight", "model.embed_tokens.weight"),
    "norm": ("output_norm.weight", "model.norm.weight"),
    "norm.bias": "output_norm.bias",
    "head": ("output.weight", "lm_head.weight"),
    "rope_factors": "rope_freqs.weight",
    "rope_factors.short": "rope_factors_short.weight",
    "rope_factors.long": LONG_FACTORS,
}
"""Tensor names outside of blocks."""


@dataclass(frozen=True)
class Architecture:
    """A family of decoders or encoders.

    gguf       what general.architecture says; "" where only Hugging Face directories are read
    papers     where it is described
    weights    llmc's name of a block's tensor -> its GGUF name, or its names in GGUF and Hugging Face files ({i}: the layer)
    rope       how GGUF files of the family pair rotated features: "interleaved" or "half"
    block      x [T, hidden] -> [T, hidden]
    hf         the classes that config.json may name; none where only GGUF files are read
    hf_rope    how Hugging Face files pair rotated features
    hf_biases  flag of config.json (or ALWAYS) -> the weights that have a bias where it is set, and only there
    dialect    how config.json of the family says what others say elsewhere
    recurrent  the tensors that layers with a state have and others do not
    attention  the tensors that layers with a state do not have
    experts    the tensors that take the place of FEED_FORWARD in layers with experts; none where it cannot have any
    optional   tensors that a layer may lack, besides biases
    attends    whether there are layers with keys and values
    norm       "rms_norm" or "layer_norm"
    model      names of the tensors outside of blocks, where they differ from MODEL_NAMES
    variant    the tensors that all layers of some models have, and none of others -> the flag of config.json that says so, or ""
    hf_prefix  what the names of Hugging Face files begin with, but for files saved without it
    hf_stored  how Hugging Face files store a tensor, where not as its rows: makes what is shown of what is stored
    implied    keys that config.json of the family may leave out, by llmc's own names for them in such files
    views      tensors that files hold in another shape than the block asks for, by name
    encoder    whether tokens see those after them, and rows of the result are states of tokens
    enter      x [T, hidden], tokens [T] -> x before the first layer, and what else the layers carry
    leave      x [T, hidden] -> x behind the last layer
    classifiers  classes whose models end in scores of labels -> their heads
    unused     patterns of tensors that are of no use to the result, such as the heads an encoder was trained with
    adapt      what the family means by its keys where others mean something else; raises as read_config does
    """

    gguf: str
    papers: str
    weights: Names
    rope: str
    block: Block
    hf: tuple[str, ...] = ()
    hf_rope: str = "half"
    hf_biases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dialect: Dialect = PLAIN
    recurrent: Names = field(default_factory=dict)
    attention: Names = field(default_factory=dict)
    experts: Names = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    attends: bool = True
    norm: str = "rms_norm"
    model: Names = field(default_factory=dict)
    variant: Mapping[str, str] = field(default_factory=dict)
    hf_prefix: str = ""
    hf_stored: Mapping[str, Callable[[Tensor, Config], Rewritten]] = field(default_factory=dict)
    implied: Callable[[Keys], Mapping[str, Any]] = lambda keys: {}
    views: Callable[[Checkpoint, Config], Mapping[str, Derived]] = lambda checkpoint, config: {}
    encoder: bool = False
    enter: Callable[[Step, Value, Value, Weights], Value] = lambda s, x, tokens, w: x
    leave: Block = lambda s, x, w: x
    classifiers: Mapping[str, Classifier] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    adapt: Callable[[Config, Keys], Config] = lambda config, keys: config

    def names(self, checkpoint: Checkpoint, *, experts: bool = False) -> dict[str, str]:
        """llmc's name of a tensor -> its name in this file."""
        every = {**MODEL_NAMES, **self.model, **self.weights, **self.recurrent, **self.attention}
        names = column({**every, **self.experts} if experts else every, checkpoint.container)
        bare = checkpoint.container != "gguf" and names["embedding"] not in checkpoint.tensors
        return {name: tensor.removeprefix(self.hf_prefix or "model.") for name, tensor in names.items()} if bare else names

    @property
    def classes(self) -> tuple[str, ...]:
        """What `architectures` of config.json may name."""
        return (*self.hf, *self.classifiers)

    def belongs(self, name: str, config: Config, layer: int) -> bool:
        """Whether a layer may have the tensor `name`: feed-forward blocks and experts exclude each other, and so do the tensors
        of layers with a state and of others. A layer of one part has what belongs to that."""
        if config.parts:
            return self._part(name) in ("", config.parts[layer])
        if name in (self.attention if config.is_recurrent(layer) else self.recurrent):
            return False
        sparse = config.has_experts(layer)
        return sparse if name in self.experts else not (sparse and name.startswith(FEED_FORWARD))

    def _part(self, name: str) -> str:
        """The part of a layer that a tensor belongs to; "" for what every layer has."""
        named = {"recurrent": self.recurrent, "attention": self.attention, "experts": self.experts}
        return next((part for part, names in named.items() if name in names), "feed_forward" * name.startswith(FEED_FORWARD))

    def config(self, checkpoint: Checkpoint) -> Config:
        """The family's config. Raises MalformedFileError or UnsupportedModelError naming the key."""
        eps = "norm_eps" if self.norm == "rms_norm" else "layer_norm_eps"
        read = read_config if self.attends else read_recurrent_config
        return self.adapt(read(checkpoint, eps, self.dialect), Keys(checkpoint))

    def shown(self, checkpoint: HuggingFace) -> HuggingFace:
        """A model directory with the keys that it implies."""
        return checkpoint.with_implied(self.implied(Keys(checkpoint)))

    def restored(self, checkpoint: HuggingFace, config: Config) -> HuggingFace:
        """A model directory with its tensors as blocks want them."""
        if self.dialect.plus_one:
            checkpoint = checkpoint.showing(norms_plus_one(checkpoint.tensors))
        names = self.names(checkpoint)
        tensors = {name: [names[name].format(i=i) for i in range(config.layers)] for name in self.hf_stored if name in names}
        return checkpoint.showing({
            tensor: self.hf_stored[name](checkpoint.tensors[tensor], config)
            for name, each in tensors.items() for tensor in each if tensor in checkpoint.tensors
        })  # fmt: skip

    def rope_style(self, container: str) -> str:
        return self.rope if container == "gguf" else self.hf_rope


def column(names: Names, container: str) -> dict[str, str]:
    """One of the two columns of names; a tensor that has no name there is left out."""
    pairs = {name: (both, "") if isinstance(both, str) else both for name, both in names.items()}
    at = 0 if container == "gguf" else 1
    return {name: pair[at] for name, pair in pairs.items() if pair[at]}


DECODER = {
    "attn.norm": ("blk.{i}.attn_norm.weight", "model.layers.{i}.input_layernorm.weight"),
    "attn.q": ("blk.{i}.attn_q.weight", "model.layers.{i}.self_attn.q_proj.weight"),
    "attn.k": ("blk.{i}.attn_k.weight", "model.layers.{i}.self_attn.k_proj.weight"),
    "attn.v": ("blk.{i}.attn_v.weight", "model.layers.{i}.self_attn.v_proj.weight"),
    "attn.out": ("blk.{i}.attn_output.weight", "model.layers.{i}.self_attn.o_proj.weight"),
    "ffn.norm": ("blk.{i}.ffn_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    "ffn.gate": ("blk.{i}.ffn_gate.weight", "model.layers.{i}.mlp.gate_proj.weight"),
    "ffn.up": ("blk.{i}.ffn_up.weight", "model.layers.{i}.mlp.up_proj.weight"),
    "ffn.down": ("blk.{i}.ffn_down.weight", "model.layers.{i}.mlp.down_proj.weight"),
}
"""Tensor names every pre-norm decoder with a gated feed-forward shares."""

QK_NORMS = {
    "attn.q_norm": ("blk.{i}.attn_q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight"),
    "attn.k_norm": ("blk.{i}.attn_k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight"),
}
POST_NORMS = {
    "attn.post_norm": ("blk.{i}.post_attention_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    "ffn.post_norm": ("blk.{i}.post_ffw_norm.weight", "model.layers.{i}.post_feedforward_layernorm.weight"),
}
"""Names of norms of q and k, and of norms that follow attention and feed-forward."""

ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.out")
ATTENTION_NAMES = {name: DECODER[name] for name in ATTENTION}
FEED_FORWARD = ("ffn.gate", "ffn.up", "ffn.down")

EXPERTS = {
    "ffn.router": ("blk.{i}.ffn_gate_inp.weight", "model.layers.{i}.mlp.gate.weight"),
    "ffn.gate_experts": ("blk.{i}.ffn_gate_exps.weight", "model.layers.{i}.mlp.experts.gate_proj.weight"),
    "ffn.up_experts": ("blk.{i}.ffn_up_exps.weight", "model.layers.{i}.mlp.experts.up_proj.weight"),
    "ffn.down_experts": ("blk.{i}.ffn_down_exps.weight", "model.layers.{i}.mlp.experts.down_proj.weight"),
}
"""Tensor names of a router and the experts it chooses from."""

CHOICE_BIAS = {"ffn.choice_bias": ("blk.{i}.exp_probs_b.bias", "model.layers.{i}.mlp.gate.e_score_correction_bias")}
"""What joins the scores when experts are chosen. Optional in GGUF files."""


def mamba_names(module: str) -> dict[str, tuple[str, str]]:
    """Tensor names of a Mamba layer; `module` is what Hugging Face files call it. Not all models have all biases."""
    names = {
        "ssm.in": ("ssm_in.weight", "in_proj.weight"),
        "ssm.in.bias": ("ssm_in.bias", "in_proj.bias"),
        "ssm.conv": ("ssm_conv1d.weight", "conv1d.weight"),
        "ssm.conv.bias": ("ssm_conv1d.bias", "conv1d.bias"),
        "ssm.x_proj": ("ssm_x.weight", "x_proj.weight"),
        "ssm.dt": ("ssm_dt.weight", "dt_proj.weight"),
        "ssm.dt.bias": ("ssm_dt.bias", "dt_proj.bias"),
        "ssm.a": ("ssm_a", "A_log"),
        "ssm.d": ("ssm_d", "D"),
        "ssm.out": ("ssm_out.weight", "out_proj.weight"),
        "ssm.out.bias": ("ssm_out.bias", "out_proj.bias"),
    }
    return {name: (f"blk.{{i}}.{gguf}", f"{module}.{hf}") for name, (gguf, hf) in names.items()}


def mamba2_names(module: str) -> dict[str, tuple[str, str]]:
    """Tensor names of a Mamba-2 layer; `module` is what Hugging Face files call it. Not all models have a norm or biases."""
    names = {
        "ssm.in": ("ssm_in.weight", "in_proj.weight"),
        "ssm.conv": ("ssm_conv1d.weight", "conv1d.weight"),
        "ssm.conv.bias": ("ssm_conv1d.bias", "conv1d.bias"),
        "ssm.dt_bias": ("ssm_dt.bias", "dt_bias"),
        "ssm.a": ("ssm_a", "A_log"),
        "ssm.d": ("ssm_d", "D"),
        "ssm.out": ("ssm_out.weight", "out_proj.weight"),
        "ssm.norm": ("ssm_norm.weight", "norm.weight"),
        "ssm.in.bias": ("ssm_in.bias", "in_proj.bias"),
        "ssm.out.bias": ("ssm_out.bias", "out_proj.bias"),
    }
    return {name: (f"blk.{{i}}.{gguf}", f"{module}.{hf}") for name, (gguf, hf) in names.items()}


def shared_experts(module: str) -> dict[str, tuple[str, str]]:
    """Tensor names of the network that every token passes through; `module` is what Hugging Face files call it."""
    parts = {"ffn.shared_gate": "gate", "ffn.shared_up": "up", "ffn.shared_down": "down"}
    hf = f"model.layers.{{i}}.mlp.{module}"
    return {name: (f"blk.{{i}}.ffn_{part}_shexp.weight", f"{hf}.{part}_proj.weight") for name, part in parts.items()}


def without(*names: str) -> dict[str, tuple[str, str]]:
    """DECODER, less the tensors a family does not have."""
    return {name: tensor for name, tensor in DECODER.items() if name not in names}


def biases(*names: str, of: Names = DECODER) -> dict[str, tuple[str, str]]:
    """The bias beside each of these weights: used where the checkpoint has it."""

    def beside(weight: str) -> str:
        return weight.removesuffix("weight") + "bias" if weight else ""

    pairs = {name: (both, "") if isinstance(both := of[name], str) else both for name in names}
    return {f"{name}.bias": (beside(gguf), beside(hf)) for name, (gguf, hf) in pairs.items()}


def by_class() -> dict[str, Architecture]:
    """Every architecture by the names that `architectures` of config.json has for it.

    Those of a decoder have siblings: the same without its output matrix, which gives states, and with scores in its place.
    """
    known = {name: architecture for architecture in every() for name in architecture.classes}
    siblings = {
        name.removesuffix(CAUSAL) + head: architecture
        for name, architecture in known.items() for head in (BARE, SCORING) if name.endswith(CAUSAL) and not architecture.encoder
    }  # fmt: skip
    return {**siblings, **known}


def find() -> dict[str, Architecture]:
    """The architectures of GGUF files by their names there."""
    return {architecture.gguf: architecture for architecture in every() if architecture.gguf}


def every() -> list[Architecture]:
    """All of them."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [getattr(importlib.import_module(f"{__name__}.{name}"), name.upper()) for name in names]
