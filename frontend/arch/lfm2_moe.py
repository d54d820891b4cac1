"""LFM2-MoE: the layers of LFM2 with experts, chosen by sigmoids and a bias, in all but the first few.

https://huggingface.co/docs/transformers/model_doc/lfm2_moe
"""

from dataclasses import replace

from llmc.frontend.arch.lfm2 import LFM2
from llmc.frontend.experts import ExpertKeys

CLASSES = ("Lfm2MoeForCausalLM",)
MODULE = "model.layers.{i}.feed_forward"

LFM2_MOE = replace(
    LFM2,
    gguf="lfm2moe",
    papers="transformers documentation, model_doc/lfm2_moe",
    hf=CLASSES,
    dialect=replace(
        LFM2.dialect,
        experts=ExpertKeys(CLASSES, normalize="norm_topk_prob", scale="routed_scaling_factor", leading="num_dense_layers"),
    ),
    experts={
        "ffn.router": ("blk.{i}.ffn_gate_inp.weight", f"{MODULE}.gate.weight"),
        "ffn.choice_bias": ("blk.{i}.exp_probs_b.bias", f"{MODULE}.expert_bias"),
        "ffn.gate_experts": ("blk.{i}.ffn_gate_exps.weight", f"{MODULE}.experts.w1.weight"),
        "ffn.up_experts": ("blk.{i}.ffn_up_exps.weight", f"{MODULE}.experts.w3.weight"),
        "ffn.down_experts": ("blk.{i}.ffn_down_exps.weight", f"{MODULE}.experts.w2.weight"),
    },
    optional=("ffn.choice_bias",),
)
