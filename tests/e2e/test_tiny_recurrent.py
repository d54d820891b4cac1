"""Recurrent and hybrid families, against random models of transformers."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import build, check

MAMBA2 = {
    "expand": 2, "head_dim": 16, "num_heads": 8, "n_groups": 2, "state_size": 24, "conv_kernel": 4, "intermediate_size": None,
    "num_attention_heads": None, "num_key_value_heads": None, "max_position_embeddings": None,
}  # fmt: skip
FALCON = {
    "mamba_d_ssm": 96, "mamba_n_heads": 6, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 20, "mamba_d_conv": 3,
    "head_dim": 16, "lm_head_multiplier": 0.7, "embedding_multiplier": 1.6, "mlp_multipliers": [1.3, 0.8], "key_multiplier": 0.9,
    "attention_out_multiplier": 1.2, "ssm_multipliers": [0.6, 1.4, 0.7, 1.1, 0.5], "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.75,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba2": ("Mamba2", MAMBA2),
    "mamba2 with biases and limits": ("Mamba2", {**MAMBA2, "use_bias": True, "time_step_limit": [0.1, 0.7], "conv_kernel": 2}),
    "mamba2 without biases": ("Mamba2", {**MAMBA2, "use_conv_bias": False, "n_groups": 1, "head_dim": 8, "num_heads": 16}),
    "falcon h1": ("FalconH1", FALCON),
    "falcon h1 with a norm after the gate": ("FalconH1", {**FALCON, "mamba_rms_norm": True, "mamba_norm_before_gate": False}),
    "falcon h1 with a norm before the gate": (
        "FalconH1",
        {**FALCON, "mamba_rms_norm": True, "mamba_norm_before_gate": True, "mamba_conv_bias": False},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_random_model_computes_what_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    family, sizes = MODELS[name]
    check(build(family, tmp_path / "model", **sizes), compiled)
