"""AWQ linears: what is read, against a packer that goes element by element, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.awq import read_config
from llmc.frontend.huggingface import read_huggingface
from llmc.frontend.quant._groups import group_format
from llmc.ir.quant import dequantize
from tests.frontend.packers import Tensors, awq_words
from tests.frontend.test_gptq import NAME, K, N, directory, read_back, values, weight
from tests.safetensors_bytes import write_directory


def test_awq_has_no_order_of_columns(tmp_path: Path) -> None:
    codes, zeros, scales = weight(4, 32, False)
    tensors: Tensors = {"qweight": awq_words(codes), "qzeros": awq_words(zeros), "scales": scales}
    tensors["g_idx"] = np.arange(K, dtype=np.int32) % 24
    with pytest.raises(MalformedFileError, match="g_idx puts columns in another order, which awq has not"):
        directory(tmp_path / "m", tensors, quant_method="awq", bits=4, group_size=32, version="GEMM")


@pytest.mark.parametrize("group", [32, 384, -1])
def test_awq_is_read(tmp_path: Path, group: int) -> None:
    wide = K if group == -1 else group
    codes, zeros, scales = weight(4, wide, False)
    tensors = {"qweight": awq_words(codes), "qzeros": awq_words(zeros), "scales": scales}
    c = directory(tmp_path / "m", tensors, quant_method="awq", bits=4, group_size=group, version="GEMM")
    np.testing.assert_allclose(read_back(c), values(codes, zeros, scales, wide), rtol=1e-6, atol=1e-5)


def test_without_zero_points_codes_count_from_the_middle(tmp_path: Path) -> None:
    codes, zeros, scales = weight(4, 64, True)
    tensors = {"qweight": awq_words(codes), "scales": scales}
    c = directory(tmp_path / "m", tensors, quant_method="awq", bits=4, group_size=64, version="gemm", zero_point=False)
    np.testing.assert_allclose(read_back(c), values(codes, zeros, scales, 64), rtol=1e-6, atol=1e-5)
    assert c.tensors[f"{NAME}.weight"].format == group_format(4, 64, False)


def test_experts_of_a_stack_share_a_format(tmp_path: Path) -> None:
    name, (codes, zeros, scales) = "model.layers.0.block_sparse_moe.experts", weight(4, 64, False)
    parts: Tensors = {}
    for i, z in enumerate((zeros, np.full_like(zeros, 8))):
        tensors = {"qweight": awq_words(codes), "qzeros": awq_words(z), "scales": scales}
        parts |= {f"{name}.{i}.w1.{part}": t for part, t in tensors.items()}
    quantization = {"quant_method": "awq", "bits": 4, "group_size": 64}
    config = {"architectures": ["MixtralForCausalLM"], "quantization_config": quantization}
    c = read_huggingface(write_directory(tmp_path / "m", config, parts))
    t = c.tensors[f"{name}.w1.weight"]
    assert (t.shape, t.format) == ((2, N, K), group_format(4, 64, True))
    expected = [values(codes, z, scales, 64) for z in (zeros, np.full_like(zeros, 8))]
    np.testing.assert_allclose(dequantize(t.format, c.data(t.name)).reshape(t.shape), np.stack(expected), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "kind", "word"),
    [
        ({"bits": 8}, MalformedFileError, "bits is 8"),
        ({"bits": True}, MalformedFileError, "bits"),
        ({"version": "gemv"}, UnsupportedModelError, "gemv"),
        ({"version": "gemv_fast"}, UnsupportedModelError, "gemv_fast"),
        ({"version": "marlin"}, UnsupportedModelError, "marlin"),
        ({"version": "exllama"}, UnsupportedModelError, "exllama"),
        ({"group_size": 0}, MalformedFileError, "group_size is 0"),
        ({"group_size": 16}, UnsupportedModelError, "group_size is 16"),
        ({"modules_to_not_convert": "gate"}, MalformedFileError, "modules_to_not_convert is a string"),
    ],
)
def test_what_the_config_says_is_checked(config: dict[str, Any], kind: type[LlmcError], word: str) -> None:
    with pytest.raises(kind, match=word):
        read_config({"bits": 4, "group_size": 128, "version": "gemm"} | config, {})


def test_zero_points_may_not_be_missing_where_the_config_has_them(tmp_path: Path) -> None:
    codes, _, scales = weight(4, 32, False)
    with pytest.raises(MalformedFileError, match="qzeros is missing"):
        directory(tmp_path / "m", {"qweight": awq_words(codes), "scales": scales}, quant_method="awq", bits=4, group_size=32)
