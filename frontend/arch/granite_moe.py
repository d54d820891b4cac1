"""Granite 3 MoE: Granite's block with experts in the place of the feed-forward block, in some beside a network of all tokens.

https://huggingface.co/docs/transformers/model_doc/granitemoe
"""

from dataclasses import replace

from llmc.frontend.arch import EXPERTS, shared_experts
from llmc.frontend.arch.granite import GRANITE
from llmc.frontend.checkpoint import Checkpoint, Derived
from llmc.frontend.config import Config
from llmc.frontend.dialect import Dialect
from llmc.frontend.experts import ExpertKeys
from llmc.frontend.views import fused_experts, halves, view

CLASSES = ("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM")
MODULE, SHARED = "model.layers.{i}.block_sparse_moe", "model.layers.{i}.shared_mlp"
SHARED_NAMES = shared_experts("shared_experts")


def views(checkpoint: Checkpoint, config: Config) -> dict[str, Derived]:
    """Gates and ups of a directory as tensors of their own."""
    fused, last = "input_linear.weight", "output_linear.weight"
    experts = fused_experts(checkpoint.tensors, MODULE, config.layers, transposed=False, fused=fused, last=last)
    shown: dict[str, Derived] = {**experts}
    for name in (SHARED.format(i=i) for i in range(config.layers)):
        both = checkpoint.tensors.get(f"{name}.input_linear.weight")
        if both is not None:
            for part, rows in zip(("gate", "up"), halves(both.shape[0], False), strict=True):
                shown[f"{name}.{part}"] = view(both, f"{name}.{part}", rows=rows, flat=True)
    return shown


GRANITE_MOE = replace(
    GRANITE,
    gguf="granitemoe",
    papers="transformers documentation, model_doc/granitemoe",
    hf=CLASSES,
    dialect=Dialect(
        experts=ExpertKeys(CLASSES, intermediate="intermediate_size", shared="shared_intermediate_size"),
    ),
    experts={
        "ffn.router": (EXPERTS["ffn.router"][0], f"{MODULE}.router.layer.weight"),
        "ffn.gate_experts": (EXPERTS["ffn.gate_experts"][0], f"{MODULE}.gate_proj.weight"),
        "ffn.up_experts": (EXPERTS["ffn.up_experts"][0], f"{MODULE}.up_proj.weight"),
        "ffn.down_experts": (EXPERTS["ffn.down_experts"][0], f"{MODULE}.down_proj.weight"),
        "ffn.shared_gate": (SHARED_NAMES["ffn.shared_gate"][0], f"{SHARED}.gate"),
        "ffn.shared_up": (SHARED_NAMES["ffn.shared_up"][0], f"{SHARED}.up"),
        "ffn.shared_down": (SHARED_NAMES["ffn.shared_down"][0], f"{SHARED}.output_linear.weight"),
    },
    optional=tuple(SHARED_NAMES),
    views=views,
)
