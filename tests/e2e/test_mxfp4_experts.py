"""gpt-oss as it is published: a directory with experts in MXFP4."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.frontend.safetensors import read_shard
from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import Tiny, build, check
from tests.safetensors_bytes import safetensors

SIZES = {"head_dim": 32, "num_local_experts": 6, "num_experts_per_tok": 3, "sliding_window": 16, "intermediate_size": 64}


def packed(tiny: Tiny) -> Tiny:
    """The same model with random MXFP4 experts, in the directory in two tensors and in torch dequantised."""
    torch: Any = pytest.importorskip("torch")
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # type: ignore[import-not-found]

    rng, shard = np.random.default_rng(2), read_shard(tiny.folder / "model.safetensors", 0)
    tensors = {
        name: np.frombuffer(shard.data, "<f4", t.nbytes // 4, t.offset).reshape(t.shape) for name, t in shard.tensors.items()
    }
    parameters = dict(tiny.model.named_parameters())
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, columns, rows = tensors.pop(name).shape
        blocks = rng.integers(0, 256, (experts, rows, columns // 32, 16), np.uint8)
        scales = rng.integers(122, 125, blocks.shape[:3], np.uint8)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        weight = convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(scales), dtype=torch.float32)
        with torch.no_grad():
            parameters[name].copy_(weight)
    config = json.loads((tiny.folder / "config.json").read_text())
    (tiny.folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}}))
    (tiny.folder / "model.safetensors").write_bytes(safetensors(tensors))
    return tiny


def test_gpt_oss_in_mxfp4_computes_what_transformers_does_dequantised(compiled: Compiled, tmp_path: Path) -> None:
    check(packed(build("GptOss", tmp_path / "model", **SIZES)), compiled)
