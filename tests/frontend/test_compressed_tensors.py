"""compressed-tensors linears: what is read, against their definition, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.compressed_tensors_config import read_schemes
from llmc.frontend.huggingface import HuggingFace, read_huggingface
from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import BITS, float8_format, group_format, nvfp4_format
from llmc.ir.quant import E4M3, dequantize
from tests.frontend.packers import Tensors, bf16, ct_words, e2m1, e4m3
from tests.safetensors_bytes import write_directory

N, K = 32, 256
NAME = "model.layers.0.mlp.up_proj"


def scheme(layout: str = "pack-quantized", **weights: Any) -> dict[str, Any]:
    """quantization_config, with fields of its weights replaced."""
    fields = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 64, "symmetric": True, **weights}
    groups = {"group_0": {"targets": ["Linear"], "weights": fields, "input_activations": None}}
    return {"quant_method": "compressed-tensors", "format": layout, "config_groups": groups, "ignore": ["lm_head"]}


INT8 = scheme("int-quantized", num_bits=8, strategy="channel", group_size=None)


def packed(bits: int, group: int, symmetric: bool) -> tuple[Tensors, NDArray[np.float32]]:
    """(tensors, the weight they stand for, f32 [N, K])."""
    rng = np.random.default_rng(bits + group)
    half = 1 << (bits - 1)
    q, zeros = rng.integers(-half, half, (N, K)), rng.integers(-half, half, (N, K // group))
    scales = rng.normal(size=zeros.shape).astype(np.float16)
    tensors = {
        "weight_packed": ct_words(q + half, bits), "weight_scale": scales, "weight_shape": np.array([N, K], np.int64),
    }  # fmt: skip
    if symmetric:
        zeros[:] = 0
    else:
        tensors["weight_zero_point"] = np.ascontiguousarray(ct_words((zeros + half).T, bits).T)
    exact = (q - zeros.repeat(group, 1)) * scales.astype(np.float64).repeat(group, 1)
    return tensors, exact.astype(np.float32)


def directory(folder: Path, tensors: Tensors, quantization: dict[str, Any], name: str = NAME, **dtypes: str) -> HuggingFace:
    """A directory with one linear; `dtypes` says what the bytes of a part are."""
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    parts = {f"{name}.{part}": t for part, t in tensors.items()}
    return read_huggingface(write_directory(folder, config, parts, {f"{name}.{part}": d for part, d in dtypes.items()}))


def read_back(c: HuggingFace, name: str = NAME) -> NDArray[np.float32]:
    """The weight, times the factors of its rows."""
    t = c.tensors[f"{name}.weight"]
    assert t.nbytes == c.data(t.name).size and not c.tensors.keys() - {t.name, t.scales, t.columns}
    weight = dequantize(t.format, c.data(t.name)).reshape(t.shape)
    if t.scales is None:
        return weight
    factors = c.tensors[t.scales]
    assert factors.shape == t.shape[:1] and factors.nbytes == c.data(t.scales).size
    return weight * dequantize(factors.format, c.data(t.scales))[:, None]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [32, 128, K])
@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_integers_are_read(tmp_path: Path, bits: int, group: int, symmetric: bool) -> None:
    tensors, expected = packed(bits, group, symmetric)
    strategy = {"strategy": "channel", "group_size": None} if group == K else {"group_size": group}
    c = directory(tmp_path / "m", tensors, scheme(num_bits=bits, symmetric=symmetric, **strategy))
    np.testing.assert_allclose(read_back(c), expected, rtol=1e-6, atol=1e-6 * 255)


@pytest.mark.parametrize("bits", [4, 8])
def test_zero_points_may_be_bytes(tmp_path: Path, bits: int) -> None:
    tensors, expected = packed(bits, 64, False)
    half = 1 << (bits - 1)
    words = tensors["weight_zero_point"].view(np.uint32)
    zeros = np.concatenate([(words >> np.uint32(bits * i) & np.uint32(2 * half - 1)) for i in range(32 // bits)], axis=1)
    by_row = zeros.reshape(len(words), 32 // bits, -1).reshape(N, -1)
    tensors["weight_zero_point"] = (by_row.astype(np.int64) - half).astype(np.int8)
    c = directory(tmp_path / "m", tensors, scheme(num_bits=bits, symmetric=False, group_size=64))
    np.testing.assert_allclose(read_back(c), expected, rtol=1e-6, atol=1e-6 * 255)


def test_columns_in_act_order_are_stored_group_by_group(tmp_path: Path) -> None:
    tensors, stored = packed(4, 64, True)
    groups = np.random.default_rng(3).permutation(np.arange(K) // 64).astype(np.int32)
    scales = tensors["weight_scale"].astype(np.float64)
    exact = stored / scales.repeat(64, 1) * scales[:, groups]
    c = directory(tmp_path / "m", tensors | {"weight_g_idx": groups}, scheme(actorder="group"))
    columns = c.tensors[f"{NAME}.weight"].columns
    assert columns == f"{NAME}.weight_g_idx"
    taken = c.data(columns).view("<i4")
    assert np.array_equal(taken, np.argsort(groups, kind="stable"))
    np.testing.assert_allclose(read_back(c), exact[:, taken], rtol=1e-5)


def test_an_order_that_was_not_made_is_none(tmp_path: Path) -> None:
    tensors, expected = packed(4, 64, True)
    c = directory(tmp_path / "m", tensors | {"weight_g_idx": np.full(K, -1, np.int32)}, scheme())
    np.testing.assert_allclose(read_back(c), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("strategy", ["tensor", "channel", "group", "block"])
@pytest.mark.parametrize("layout", ["int-quantized", "naive-quantized"])
def test_bytes_are_read(tmp_path: Path, dtype: Any, strategy: str, layout: str) -> None:
    rng = np.random.default_rng(0)
    over = {"tensor": (N, K), "channel": (1, K), "group": (1, 64), "block": (24, 64)}[strategy]
    q, scales = rng.integers(-128, 128, (N, K), dtype=np.int8), rng.normal(size=(-(-N // over[0]), K // over[1])).astype(dtype)
    fields = {"group_size": 64 if strategy == "group" else None, "block_structure": "24x64" if strategy == "block" else None}
    quantization = scheme(layout, num_bits=8, strategy=strategy, **fields)
    c = directory(tmp_path / "m", {"weight": q, "weight_scale": scales}, quantization)
    np.testing.assert_allclose(read_back(c), q * spread(scales, over), rtol=1e-6)


def spread(scales: NDArray[Any], over: tuple[int, int], n: int = N) -> NDArray[np.float64]:
    """The scale of every weight."""
    return scales.astype(np.float64).repeat(over[0], 0)[:n].repeat(over[1], 1)[:, :K]


def test_bytes_have_zero_points_where_they_are_not_symmetric(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    q, zeros = rng.integers(-8, 8, (N, K), dtype=np.int8), rng.integers(-8, 8, (N, 1), dtype=np.int8)
    scales = rng.normal(size=(N, 1)).astype(np.float32)
    tensors = {"weight": q, "weight_scale": scales, "weight_zero_point": zeros, "input_scale": np.ones(1, np.float32)}
    c = directory(tmp_path / "m", tensors, INT8 | scheme("int-quantized", strategy="channel", group_size=None, symmetric=False))
    np.testing.assert_allclose(read_back(c), (q.astype(np.float64) - zeros) * scales, rtol=1e-5, atol=1e-5)
    assert c.tensors[f"{NAME}.weight"].format == group_format(4, 256, True, "f32")


def test_a_byte_of_more_bits_than_its_scheme_is_refused(tmp_path: Path) -> None:
    tensors = {"weight": np.full((N, K), 8, np.int8), "weight_scale": np.ones((N, 1), np.float16)}
    c = directory(tmp_path / "m", tensors, scheme("int-quantized", strategy="channel", group_size=None))
    with pytest.raises(MalformedFileError, match="outside -8 to 7"):
        c.data(f"{NAME}.weight")


FLOATS = np.resize(np.arange(127, dtype=np.uint8), (N, K)) | np.resize(np.array([0, 128], np.uint8), (N, 1))
"""Codes of 8-bit floats, any but NaN."""


@pytest.mark.parametrize("layout", ["float-quantized", "naive-quantized"])
@pytest.mark.parametrize(
    ("strategy", "over", "shape"),
    [
        ("tensor", (N, K), (1,)), ("channel", (1, K), (N, 1)), ("channel", (1, K), (N,)), ("group", (1, 128), (N, 2)),
        ("block", (24, 128), (2, 2)), ("block", (128, 32), (1, 8)),
    ],
)  # fmt: skip
def test_floats_of_8_bits_are_read(tmp_path: Path, layout: str, strategy: str, over: tuple[int, int], shape: Any) -> None:
    scales = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    fields = {"group_size": 128 if strategy == "group" else None, "block_structure": [*over]}
    quantization = scheme(layout, num_bits=8, type="float", strategy=strategy, **fields)
    tensors = {"weight": FLOATS, "weight_scale": scales, "input_scale": np.ones(1, np.float32)}
    c = directory(tmp_path / "m", tensors, quantization, weight="F8_E4M3")
    np.testing.assert_allclose(read_back(c), e4m3(FLOATS) * spread(scales.reshape(-(-N // over[0]), -1), over), rtol=1e-6)
    t = c.tensors[f"{NAME}.weight"]
    assert t.format == (E4M3 if over[1] == K else float8_format(over[1], "f32"))
    c.release(t.name)


def test_factors_of_bfloat16_are_read(tmp_path: Path) -> None:
    scales = bf16(np.random.default_rng(2).normal(size=(N, 1)).astype(np.float32))
    quantization = scheme("float-quantized", num_bits=8, type="float", strategy="channel", group_size=None)
    c = directory(tmp_path / "m", {"weight": FLOATS, "weight_scale": scales}, quantization, weight="F8_E4M3")
    factors = (scales.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(read_back(c), e4m3(FLOATS) * factors, rtol=1e-6)


def test_floats_of_an_expert_have_their_scales_in_blocks(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.0.up_proj"
    scales = np.random.default_rng(2).normal(size=(N, 1)).astype(np.float32)
    quantization = scheme("float-quantized", num_bits=8, type="float", strategy="channel", group_size=None)
    c = directory(tmp_path / "m", {"weight": FLOATS, "weight_scale": scales}, quantization, name, weight="F8_E4M3")
    t = c.tensors["model.layers.0.mlp.experts.up_proj.weight"]
    assert t.format == float8_format(256, "f32") and t.shape == (1, N, K)
    np.testing.assert_allclose(dequantize(t.format, c.data(t.name)).reshape(N, K), e4m3(FLOATS) * scales, rtol=1e-6)


@pytest.mark.parametrize("k", [256, 96])
def test_nvfp4_is_read(tmp_path: Path, k: int) -> None:
    rng = np.random.default_rng(4)
    codes, scales = rng.integers(0, 16, (N, k), dtype=np.uint8), rng.integers(0, 127, (N, k // 16), dtype=np.uint8)
    tensors = {
        "weight_packed": codes[:, 0::2] | codes[:, 1::2] << np.uint8(4), "weight_scale": scales,
        "weight_global_scale": np.array([37.5], np.float32), "input_global_scale": np.ones(1, np.float32),
    }  # fmt: skip
    c = directory(tmp_path / "m", tensors, FP4, weight_scale="F8_E4M3")
    np.testing.assert_allclose(read_back(c), e2m1(codes) * e4m3(scales).repeat(16, 1) / 37.5, rtol=1e-6)
    assert c.tensors[f"{NAME}.weight"].format == nvfp4_format(32 if k == 96 else 256)


def test_mxfp4_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    codes, powers = rng.integers(0, 16, (N, K), dtype=np.uint8), rng.integers(100, 140, (N, K // 32), dtype=np.uint8)
    tensors = {"weight_packed": codes[:, 0::2] | codes[:, 1::2] << np.uint8(4), "weight_scale": powers}
    c = directory(tmp_path / "m", tensors, scheme("mxfp4-pack-quantized", type="float", group_size=32))
    np.testing.assert_allclose(read_back(c), e2m1(codes) * 2.0 ** (powers.astype(np.int64) - 127).repeat(32, 1), rtol=0)
    assert c.tensors[f"{NAME}.weight"].format == FORMATS["mxfp4"]


FP4 = scheme("nvfp4-pack-quantized", type="float", strategy="tensor_group", group_size=16)


def fp4(**parts: NDArray[Any] | None) -> Tensors:
    tensors = {
        "weight_packed": np.zeros((N, K // 2), np.uint8), "weight_scale": np.ones((N, K // 16), np.uint8),
        "weight_global_scale": np.ones(1, np.float32),
    }  # fmt: skip
    return {part: t for part, t in {**tensors, **parts}.items() if t is not None}


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        (fp4(weight_global_scale=None), "weight_global_scale is missing"),
        (fp4(weight_global_scale=np.zeros(1, np.float32)), "weight_global_scale is 0.0"),
        (fp4(weight_global_scale=np.ones(2, np.float32)), r"weight_global_scale is F32 \[2\]"),
        (fp4(weight_scale=np.ones((N, K // 32), np.uint8)), r"weight_scale is F8_E4M3 \[32, 8\], expected F8_E4M3 \[32, 16\]"),
        (fp4(weight_scale=np.full((N, K // 16), 0x81, np.uint8)), "negative or no number"),
        (fp4(weight_scale=np.full((N, K // 16), 0x7F, np.uint8)), "negative or no number"),
    ],
)
def test_nvfp4_that_does_not_fit_is_named(tmp_path: Path, tensors: Tensors, word: str) -> None:
    with pytest.raises(MalformedFileError, match=word):
        directory(tmp_path / "m", tensors, FP4, weight_scale="F8_E4M3")


def groups(**others: Any) -> dict[str, Any]:
    """Two groups: 8 bits by pattern, 4 bits by class, and what else is said."""
    eight = {"targets": ["re:.*down_proj", "x.gate"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}
    four = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 64}}
    for group in (eight, four):
        group["format"] = "pack-quantized"
    named = {"group_0": four, "group_1": eight, "cache": {"targets": ["LlamaAttention"], "weights": None}}
    return {"quant_method": "compressed-tensors", "format": "mixed-precision", "config_groups": named, **others}


def test_modules_are_in_the_group_that_names_them(tmp_path: Path) -> None:
    schemes = read_schemes(groups(ignore=["lm_head", "re:vision\\..*"]))
    found = {name: schemes.of(name) for name in ("a.down_proj", "a.up_proj", "x.gate", "lm_head", "vision.a.down_proj")}
    assert {name: s.bits if s else None for name, s in found.items()} == {
        "a.down_proj": 8, "a.up_proj": 4, "x.gate": 8, "lm_head": None, "vision.a.down_proj": None,
    }  # fmt: skip
    tensors, expected = packed(8, K, True)
    c = directory(tmp_path / "m", tensors, groups(), "model.layers.0.mlp.down_proj")
    np.testing.assert_allclose(read_back(c, "model.layers.0.mlp.down_proj"), expected, rtol=1e-6)


def test_codes_of_a_module_in_no_group_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match="up_proj.weight_packed is quantised, but no group"):
        directory(tmp_path / "m", packed(4, 64, True)[0], scheme() | {"ignore": [NAME]})


def test_scales_of_a_quantised_cache_are_left_out(tmp_path: Path) -> None:
    tensors, expected = packed(4, 64, True)
    parts = {f"{NAME}.{part}": t for part, t in tensors.items()}
    parts |= {f"model.layers.0.self_attn.{x}_scale": np.ones(1, np.float32) for x in "kv"}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": scheme() | {"kv_cache_scheme": {"num_bits": 8}}}
    np.testing.assert_allclose(read_back(read_huggingface(write_directory(tmp_path / "m", config, parts))), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("quantization", "word"),
    [
        (scheme("float-quantized"), "num_bits 4"),
        (scheme("marlin-24"), "marlin-24"),
        (scheme("sparse-24-bitmask"), "sparse-24-bitmask"),
        (scheme("float-quantized", num_bits=8), "type int"),
        (scheme("float-quantized", num_bits=8, type="float", symmetric=False), "symmetric False"),
        (scheme(num_bits=1), "num_bits 1"),
        (scheme(num_bits=16), "num_bits 16"),
        (scheme(type="float"), "type float"),
        (scheme(strategy="token"), "strategy token"),
        (scheme(group_size=16), "group_size is 16"),
        (scheme("nvfp4-pack-quantized", type="float", strategy="tensor_group", group_size=32), "group_size 32"),
        (scheme() | {"config_groups": {"a": {"targets": ["re:(?i)a"], "weights": {}}}}, "weights have"),
        (scheme() | {"transform_config": {"R1": {}}}, "transform_config"),
        (scheme() | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse-24-bitmask"),
        (scheme() | {"quantization_status": "frozen"}, "frozen"),
    ],
)
def test_schemes_that_are_not_compiled_are_named(quantization: dict[str, Any], word: str) -> None:
    with pytest.raises(UnsupportedModelError, match=word):
        read_schemes(quantization)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"config_groups": {}}, "config_groups"),
        ({"config_groups": {"a": 1}}, "config_groups a is"),
        ({"config_groups": {"a": {"targets": "Linear"}}}, "targets is a string"),
        ({"config_groups": {"a": {"targets": ["Linear"], "weights": []}}}, "weights is an array"),
        ({"ignore": [1]}, "ignore is an array"),
    ],
)
def test_groups_that_are_none_are_malformed(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(MalformedFileError, match=word):
        read_schemes(scheme() | changes)


def test_a_pattern_that_cannot_be_matched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="pattern"):
        directory(tmp_path / "m", packed(4, 64, True)[0], scheme() | {"ignore": ["re:(?i)A"]})


def test_a_group_size_that_is_none_is_malformed() -> None:
    for size in (0, -1, "64", None, True, 1 << 31):
        with pytest.raises(MalformedFileError, match="group_size"):
            read_schemes(scheme(group_size=size))
    for size in (None, "128", [128], [0, 1], "axb"):
        with pytest.raises(MalformedFileError, match="block_structure"):
            read_schemes(scheme(strategy="block", block_structure=size))


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
        (changed(weight_packed=np.zeros((N, 0), np.int32)), MalformedFileError, "weight_packed"),
        (changed(weight=np.zeros((N, K), np.float16)), MalformedFileError, "are both there"),
        (changed(weight_g_idx=np.zeros(K, np.int32)), MalformedFileError, "g_idx puts 256 columns in group 0"),
        (changed(weight_g_idx=np.full(K, 9, np.int32)), MalformedFileError, "g_idx holds 9"),
        (changed(weight_g_idx=np.zeros(9, np.int32)), MalformedFileError, r"g_idx is I32 \[9\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, tensors: Tensors, kind: type[LlmcError], word: str) -> None:
    with pytest.raises(kind, match=word):
        directory(tmp_path / "m", tensors, scheme(symmetric=False))


def test_zero_points_of_a_symmetric_weight_are_zero(tmp_path: Path) -> None:
    tensors, expected = packed(4, 64, True)
    directory(tmp_path / "m", tensors | {"weight_zero_point": np.zeros((N, 4), np.int8)}, scheme())
    with pytest.raises(MalformedFileError, match="other values than 0"):
        directory(tmp_path / "m", tensors | {"weight_zero_point": np.ones((N, 4), np.int8)}, scheme())
