"""compressed-tensors linears: what is read, against their definition, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.compressed_tensors import read_scheme
from llmc.frontend.huggingface import HuggingFace, read_huggingface
from llmc.ir.quant import E4M3, dequantize
from tests.safetensors_bytes import write_directory

N, K = 32, 256
NAME = "model.layers.0.mlp.up_proj"
Tensors = dict[str, NDArray[Any]]


def scheme(layout: str = "pack-quantized", **weights: Any) -> dict[str, Any]:
    """quantization_config, with fields of its weights replaced."""
    fields = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 64, "symmetric": True, **weights}
    groups = {"group_0": {"targets": ["Linear"], "weights": fields, "input_activations": None}}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": groups, "ignore": ["lm_head"]}


INT8 = scheme("int-quantized", num_bits=8, strategy="channel", group_size=None)


def words(codes: NDArray[np.int64], bits: int) -> NDArray[np.int32]:
    """Codes along the last axis as words, the first in the low bits."""
    packed = np.zeros((*codes.shape[:-1], codes.shape[-1] * bits // 32), np.uint32)
    per = 32 // bits
    for i in range(per):
        packed |= codes[..., i::per].astype(np.uint32) << np.uint32(bits * i)
    return packed.view(np.int32)


def packed(bits: int, group: int, symmetric: bool) -> tuple[Tensors, NDArray[np.float32]]:
    """(tensors, the weight they stand for, f32 [N, K])."""
    rng = np.random.default_rng(bits + group)
    half = 1 << (bits - 1)
    q, zeros = rng.integers(-half, half, (N, K)), rng.integers(-half, half, (N, K // group))
    scales = rng.normal(size=zeros.shape).astype(np.float16)
    tensors = {
        "weight_packed": words(q + half, bits), "weight_scale": scales, "weight_shape": np.array([N, K], np.int64),
    }  # fmt: skip
    if symmetric:
        zeros[:] = 0
    else:
        tensors["weight_zero_point"] = np.ascontiguousarray(words((zeros + half).T, bits).T)
    exact = (q - zeros.repeat(group, 1)) * scales.astype(np.float64).repeat(group, 1)
    return tensors, exact.astype(np.float32)


def directory(folder: Path, tensors: Tensors, quantization: dict[str, Any]) -> HuggingFace:
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    return read_huggingface(write_directory(folder, config, {f"{NAME}.{part}": t for part, t in tensors.items()}))


def read_back(c: HuggingFace) -> NDArray[np.float32]:
    t = c.tensors[f"{NAME}.weight"]
    assert t.shape == (N, K) and t.nbytes == c.data(t.name).size and len(c.tensors) == 1
    return dequantize(t.format, c.data(t.name)).reshape(N, K)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 128, K])
@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_integers_are_read(tmp_path: Path, bits: int, group: int, symmetric: bool) -> None:
    tensors, expected = packed(bits, group, symmetric)
    strategy = {"strategy": "channel", "group_size": None} if group == K else {"group_size": group}
    c = directory(tmp_path / "m", tensors, scheme(num_bits=bits, symmetric=symmetric, **strategy))
    np.testing.assert_allclose(read_back(c), expected, rtol=1e-6, atol=1e-6 * 255)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_bytes_are_read(tmp_path: Path, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    q, scales = rng.integers(-128, 128, (N, K), dtype=np.int8), rng.normal(size=(N, 1)).astype(np.float16)
    c = directory(tmp_path / "m", {"weight": q, "weight_scale": scales.astype(dtype)}, INT8)
    np.testing.assert_allclose(read_back(c), q * scales.astype(np.float32), rtol=1e-6)


FP8 = scheme("float-quantized", num_bits=8, type="float", strategy="channel", group_size=None)


def floats(folder: Path, rows: int = N) -> Path:
    """A directory with one linear of 8-bit floats, whose codes count up."""
    codes = np.resize(np.arange(127, dtype=np.uint8), (N, K))
    parts = {f"{NAME}.weight": codes, f"{NAME}.weight_scale": np.ones((rows, 1), np.float32)}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": FP8}
    write_directory(folder, config, parts)
    file = folder / "model.safetensors"
    file.write_bytes(retyped(file.read_bytes()))
    return folder


def retyped(data: bytes) -> bytes:
    """The file with its bytes called floats; the header grows with the name."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].rstrip().replace(b'"U8"', b'"F8_E4M3"')
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def test_floats_are_read_as_they_are(tmp_path: Path) -> None:
    c = read_huggingface(floats(tmp_path / "m"))
    t = c.tensors[f"{NAME}.weight"]
    assert (t.format, t.shape, t.scales) == (E4M3, (N, K), f"{NAME}.weight_scale")
    assert c.tensors[f"{NAME}.weight_scale"].shape == (N, 1)
    assert np.array_equal(c.data(t.name), np.resize(np.arange(127, dtype=np.uint8), N * K))
    c.release(t.name)


def test_floats_have_a_factor_for_each_row(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match=r"weight_scale is F32 \[16, 1\], expected .* \[32, 1\]"):
        read_huggingface(floats(tmp_path / "m", rows=16))


@pytest.mark.parametrize(
    ("quantization", "word"),
    [
        (scheme("float-quantized"), "num_bits is 4"),
        (scheme("nvfp4-pack-quantized"), "nvfp4-pack-quantized"),
        (scheme("float-quantized", num_bits=8), "type int"),
        (scheme("float-quantized", num_bits=8, type="float"), "not symmetric by channel"),
        (scheme(num_bits=3), "num_bits is 3"),
        (scheme("int-quantized"), "num_bits is 4"),
        (scheme("int-quantized", num_bits=8), "not symmetric by channel"),
        (scheme(type="float"), "type float"),
        (scheme(strategy="block"), "strategy block"),
        (scheme(group_size=16), "group_size is 16"),
        ({**scheme(), "config_groups": {}}, "config_groups"),
        ({**scheme(), "kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme"),
        ({**scheme(), "transform_config": {"R1": {}}}, "transform_config"),
    ],
)
def test_schemes_that_are_not_compiled_are_named(quantization: dict[str, Any], word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        read_scheme(quantization)


def test_a_group_size_that_is_none_is_malformed() -> None:
    for size in (0, -1, "64", None, True, 1 << 31):
        with pytest.raises(MalformedFileError, match="group_size"):
            read_scheme(scheme(group_size=size))


def changed(**parts: NDArray[Any] | None) -> Tensors:
    tensors, _ = packed(4, 64, False)
    return {part: t for part, t in {**tensors, **parts}.items() if t is not None}


@pytest.mark.parametrize(
    ("tensors", "kind", "word"),
    [
        (changed(weight_scale=None), MalformedFileError, "weight_scale is missing"),
        (changed(weight_zero_point=None), MalformedFileError, "weight_zero_point is missing"),
        (changed(weight_shape=np.array([N, 2 * K], np.int64)), MalformedFileError, "weight_shape is not"),
        (changed(weight_shape=np.array([N, K], np.int32)), MalformedFileError, "weight_shape is I32"),
        (changed(weight_scale=np.ones((N, 3), np.float16)), MalformedFileError, r"weight_scale is F16 \[32, 3\]"),
        (changed(weight_zero_point=np.zeros((3, 4), np.int32)), MalformedFileError, "weight_zero_point"),
        (changed(weight_packed=np.zeros((N, K // 8), np.float32)), MalformedFileError, "weight_packed is F32"),
        (changed(weight_packed=np.zeros((N, 0), np.int32)), UnsupportedModelError, "weight_packed"),
        (changed(weight=np.zeros((N, K), np.float16)), MalformedFileError, "are both there"),
        (changed(weight_g_idx=np.zeros(K, np.int32)), UnsupportedModelError, "act-order"),
        (changed(weight_scale=np.full((N, 4), 1e-9, np.float32)), UnsupportedModelError, "no f16 equals"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, tensors: Tensors, kind: type[LlmcError], word: str) -> None:
    with pytest.raises(kind, match=word):
        directory(tmp_path / "m", tensors, scheme(symmetric=False))
