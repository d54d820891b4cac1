"""Nemotron 3: Nemotron-H with experts without a gate, in a latent of fewer features where there is one.  arXiv:2512.20848.

Model directories of Nemotron-H name the same class.
"""

from dataclasses import replace

from llmc.frontend.arch import CHOICE_BIAS, EXPERTS, biases
from llmc.frontend.arch.nemotron_h import FORWARD, MIXER, NEMOTRON_H
from llmc.frontend.experts import ExpertKeys

CLASSES = ("NemotronHForCausalLM",)
SHARED = {
    "ffn.shared_up": ("blk.{i}.ffn_up_shexp.weight", f"{MIXER}.shared_experts.up_proj.weight"),
    "ffn.shared_down": ("blk.{i}.ffn_down_shexp.weight", f"{MIXER}.shared_experts.down_proj.weight"),
}
LATENT = {
    "ffn.latent_down": ("blk.{i}.ffn_latent_down.weight", f"{MIXER}.fc1_latent_proj.weight"),
    "ffn.latent_up": ("blk.{i}.ffn_latent_up.weight", f"{MIXER}.fc2_latent_proj.weight"),
}

NEMOTRON_H_MOE = replace(
    NEMOTRON_H,
    gguf="nemotron_h_moe",
    papers="arXiv:2504.03624, arXiv:2512.20848",
    hf=CLASSES,
    hf_biases={**NEMOTRON_H.hf_biases, "mlp_bias": (*FORWARD, *SHARED, *LATENT)},
    dialect=replace(
        NEMOTRON_H.dialect,
        experts=ExpertKeys(
            CLASSES, shared="moe_shared_expert_intermediate_size", normalize="norm_topk_prob", normalized=True,
            scale="routed_scaling_factor", groups=("n_group", "topk_group"),
        ),
    ),
    experts={
        "ffn.router": (EXPERTS["ffn.router"][0], f"{MIXER}.gate.weight"),
        "ffn.choice_bias": (CHOICE_BIAS["ffn.choice_bias"][0], f"{MIXER}.gate.e_score_correction_bias"),
        "ffn.up_experts": (EXPERTS["ffn.up_experts"][0], f"{MIXER}.experts.up_proj.weight"),
        "ffn.down_experts": (EXPERTS["ffn.down_experts"][0], f"{MIXER}.experts.down_proj.weight"),
        **SHARED,
        **LATENT,
        **biases(*SHARED, of=SHARED),
        **biases(*LATENT, of=LATENT),
    },
    optional=("ffn.choice_bias", *SHARED, *LATENT),
    unused=(r"mtp\..*",),
)  # fmt: skip
