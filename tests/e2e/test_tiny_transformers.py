"""Families without a recorded model, against random models of transformers."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import build, check

MODELS: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 32},
    "Qwen2Moe": {
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "mlp_only_layers": [1],
    },
}


@pytest.mark.parametrize("family", MODELS)
def test_a_random_model_computes_what_transformers_does(family: str, compiled: Compiled, tmp_path: Path) -> None:
    check(build(family, tmp_path / "model", **MODELS[family]), compiled)
