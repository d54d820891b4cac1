"""FP8 directories: what is read, against its definition, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.huggingface import HuggingFace, read_huggingface
from llmc.frontend.quant._groups import float8_format
from llmc.ir.quant import E4M3, dequantize
from tests.frontend.packers import Tensors, bf16, e4m3
from tests.safetensors_bytes import write_directory

N, K = 160, 192
NAME = "model.layers.0.mlp.up_proj"
CODES = np.resize(np.arange(127, dtype=np.uint8), (N, K)) | np.resize(np.array([0, 128], np.uint8), (N, 1))


def directory(folder: Path, tensors: Tensors, name: str = NAME, **quantization: Any) -> HuggingFace:
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "fp8", **quantization}}
    parts = {f"{name}.{part}": t for part, t in tensors.items()}
    dtypes = {f"{name}.weight": "F8_E4M3"} | {n: "F8_E8M0" for n, t in parts.items() if "scale" in n and t.dtype == np.uint8}
    return read_huggingface(write_directory(folder, config, parts, dtypes))


def read_back(c: HuggingFace) -> NDArray[np.float32]:
    t = c.tensors[f"{NAME}.weight"]
    weight = dequantize(t.format, c.data(t.name)).reshape(t.shape)
    return weight if t.scales is None else weight * dequantize(c.tensors[t.scales].format, c.data(t.scales))[:, None]


def of_blocks(scales: NDArray[Any], rows: int, columns: int) -> NDArray[np.float64]:
    return e4m3(CODES) * scales.astype(np.float64).repeat(rows, 0)[:N].repeat(columns, 1)[:, :K]


@pytest.mark.parametrize("rows,columns,width", [(128, 128, 64), (64, 64, 64), (32, 192, 0)])
def test_blocks_have_a_scale_each(tmp_path: Path, rows: int, columns: int, width: int) -> None:
    """The last block is smaller: 160 rows and 192 columns in blocks of 128."""
    scales = np.random.default_rng(0).normal(size=(-(-N // rows), -(-K // columns))).astype(np.float32)
    tensors = {"weight": CODES, "weight_scale_inv": scales}
    c = directory(tmp_path / "m", tensors, weight_block_size=[rows, columns], activation_scheme="dynamic")
    np.testing.assert_allclose(read_back(c), of_blocks(scales, rows, columns), rtol=1e-6)
    assert c.tensors[f"{NAME}.weight"].format == (float8_format(width, "f32") if width else E4M3)


def test_scales_may_be_bfloat16_or_powers_of_two(tmp_path: Path) -> None:
    halves = bf16(np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32))
    c = directory(tmp_path / "a", {"weight": CODES, "weight_scale_inv": halves}, weight_block_size=[128, 128])
    np.testing.assert_allclose(read_back(c), of_blocks((halves.astype(np.uint32) << 16).view(np.float32), 128, 128), rtol=1e-6)
    powers = np.array([[120, 121], [127, 130]], np.uint8)
    c = directory(tmp_path / "b", {"weight": CODES, "weight_scale_inv": powers}, weight_block_size=[128, 128])
    np.testing.assert_allclose(read_back(c), of_blocks(2.0 ** (powers.astype(np.int64) - 127), 128, 128), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (N,), (N, 1)])
@pytest.mark.parametrize("name", ["weight_scale", "weight_scale_inv"])
def test_without_blocks_rows_have_scales(tmp_path: Path, shape: tuple[int, ...], name: str) -> None:
    scales = np.random.default_rng(0).normal(size=shape or (1,)).astype(np.float32).reshape(shape)
    c = directory(tmp_path / "m", {"weight": CODES, name: scales, "input_scale": np.ones((), np.float32)})
    np.testing.assert_allclose(read_back(c), e4m3(CODES) * scales.reshape(-1, 1), rtol=1e-6)


def test_what_is_not_quantised_stays(tmp_path: Path) -> None:
    head = {"lm_head.weight": np.ones((4, 8), np.float16)}
    parts = {f"{NAME}.weight": CODES, f"{NAME}.weight_scale": np.ones((), np.float32), **head}
    quantization = {"quant_method": "fp8", "ignored_layers": ["lm_head"]}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    c = read_huggingface(write_directory(tmp_path / "m", config, parts, {f"{NAME}.weight": "F8_E4M3"}))
    assert c.tensors["lm_head.weight"].format.name == "f16"


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("scale", "quantization", "kind", "word"),
    [
        (None, {}, MalformedFileError, "weight_scale_inv is missing"),
        (np.ones(3, np.float32), {}, MalformedFileError, r"weight_scale is F32 \[3\]"),
        (np.ones(1, np.int32), {}, MalformedFileError, "weight_scale is I32"),
        (np.ones((1, 1), np.float32), {"weight_block_size": [128, 128]}, MalformedFileError, r"expected .* \[2, 2\]"),
        (ONE, {"weight_block_size": [128, 0]}, MalformedFileError, "block_size"),
        (np.ones((2, 12), np.float32), {"weight_block_size": [128, 16]}, UnsupportedModelError, "192 columns with scales for 16"),
        (ONE, {"fmt": "e5m2"}, UnsupportedModelError, "fmt is e5m2"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, scale: Any, quantization: Any, kind: type[LlmcError], word: str) -> None:
    tensors = {"weight": CODES} | ({} if scale is None else {"weight_scale": scale})
    with pytest.raises(kind, match=word):
        directory(tmp_path / "m", tensors, **quantization)
