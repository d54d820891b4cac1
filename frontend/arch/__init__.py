"""Architectures: one file each, found by file name. A file holds an `Architecture` named like the file in capitals."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.config import Config, Keys, read_config
from llmc.frontend.dialect import PLAIN, Dialect
from llmc.frontend.layers import Step
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

Block = Callable[[Step, Value, Weights], Value]
Names = Mapping[str, str | tuple[str, str]]
ALWAYS = ""  # in place of a flag of config.json


@dataclass(frozen=True)
class Architecture:
    """A decoder family.

    gguf       what general.architecture says
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
    norm       "rms_norm" or "layer_norm"
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
    norm: str = "rms_norm"
    adapt: Callable[[Config, Keys], Config] = lambda config, keys: config

    def names(self, container: str, *, experts: bool = False) -> dict[str, str]:
        """llmc's name of a block's tensor -> its name in files of this kind, "gguf" or "safetensors"."""
        every = {**self.weights, **self.recurrent, **self.attention}
        return column({**every, **self.experts} if experts else every, container)

    def belongs(self, name: str, config: Config, layer: int) -> bool:
        """Whether a layer may have the tensor `name`: feed-forward blocks and experts exclude each other, and so do the tensors
        of layers with a state and of others."""
        if name in (self.attention if config.is_recurrent(layer) else self.recurrent):
            return False
        sparse = config.has_experts(layer)
        return sparse if name in self.experts else not (sparse and name.startswith(FEED_FORWARD))

    def config(self, checkpoint: Checkpoint) -> Config:
        """The family's config. Raises MalformedFileError or UnsupportedModelError naming the key."""
        eps = "norm_eps" if self.norm == "rms_norm" else "layer_norm_eps"
        return self.adapt(read_config(checkpoint, eps, self.dialect), Keys(checkpoint))

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


def shared_experts(module: str) -> dict[str, tuple[str, str]]:
    """Tensor names of the network that every token passes through; `module` is what Hugging Face files call it."""
    parts = {"ffn.shared_gate": "gate", "ffn.shared_up": "up", "ffn.shared_down": "down"}
    hf = f"model.layers.{{i}}.mlp.{module}"
    return {name: (f"blk.{{i}}.ffn_{part}_shexp.weight", f"{hf}.{part}_proj.weight") for name, part in parts.items()}


def without(*names: str) -> dict[str, tuple[str, str]]:
    """DECODER, less the tensors a family does not have."""
    return {name: tensor for name, tensor in DECODER.items() if name not in names}


def biases(*names: str) -> dict[str, tuple[str, str]]:
    """The bias beside each of these weights: used where the checkpoint has it."""

    def beside(weight: str) -> str:
        return weight.removesuffix("weight") + "bias"

    return {f"{name}.bias": (beside(DECODER[name][0]), beside(DECODER[name][1])) for name in names}


def by_class() -> dict[str, Architecture]:
    """Every architecture by the names that `architectures` of config.json has for it."""
    return {name: architecture for architecture in find().values() for name in architecture.hf}


def find() -> dict[str, Architecture]:
    """Every architecture by its GGUF name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = (getattr(importlib.import_module(f"{__name__}.{name}"), name.upper()) for name in names)
    return {architecture.gguf: architecture for architecture in found}
