"""Architectures: one file each, found by file name. A file holds an `Architecture` named like the file in capitals."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmc.frontend.layers import Step
from llmc.frontend.weights import Weights
from llmc.ir.graph import Value

Block = Callable[[Step, Value, Weights], Value]


@dataclass(frozen=True)
class Architecture:
    """A decoder family.

    gguf     what general.architecture says
    papers   where it is described
    weights  llmc's name of a block's tensor -> its GGUF name ({i}: the layer)
    rope     how GGUF files of the family pair rotated features: "interleaved" or "half"
    block    x [T, hidden] -> [T, hidden]
    """

    gguf: str
    papers: str
    weights: Mapping[str, str]
    rope: str
    block: Block


DECODER = {
    "attn.norm": "blk.{i}.attn_norm.weight",
    "attn.q": "blk.{i}.attn_q.weight",
    "attn.k": "blk.{i}.attn_k.weight",
    "attn.v": "blk.{i}.attn_v.weight",
    "attn.out": "blk.{i}.attn_output.weight",
    "ffn.norm": "blk.{i}.ffn_norm.weight",
    "ffn.gate": "blk.{i}.ffn_gate.weight",
    "ffn.up": "blk.{i}.ffn_up.weight",
    "ffn.down": "blk.{i}.ffn_down.weight",
}
"""Tensor names every pre-norm decoder with a gated feed-forward shares."""


def biases(*names: str) -> dict[str, str]:
    """The bias beside each of these weights: used where the checkpoint has it."""
    return {f"{name}.bias": DECODER[name].removesuffix("weight") + "bias" for name in names}


def find() -> dict[str, Architecture]:
    """Every architecture by its GGUF name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = (getattr(importlib.import_module(f"{__name__}.{name}"), name.upper()) for name in names)
    return {architecture.gguf: architecture for architecture in found}
