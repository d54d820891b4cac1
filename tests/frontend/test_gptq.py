"""GPTQ linears: what is read, against a packer that goes element by element, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend.gptq import BITS, read_config
from llmc.frontend.huggingface import HuggingFace, read_huggingface
from llmc.frontend.quant._groups import group_format
from llmc.ir.quant import dequantize
from llmc.ir.tiles import pack, unpack
from tests.frontend.packers import Codes, Tensors, bf16, gptq_words
from tests.safetensors_bytes import write_directory

N, K = 32, 768
NAME = "model.layers.0.mlp.up_proj"


def weight(bits: int, group: int, centred: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float16]]:
    """(codes [K, N], zero points [G, N], scales [G, N])."""
    rng = np.random.default_rng(bits * 1000 + group)
    codes = rng.integers(0, 1 << bits, (K, N))
    zeros = rng.integers(1, 1 << bits, (K // group, N))
    return codes, np.full_like(zeros, 1 << (bits - 1)) if centred else zeros, rng.normal(size=zeros.shape).astype(np.float16)


def directory(folder: Path, tensors: Tensors, **quantization: Any) -> HuggingFace:
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    return read_huggingface(write_directory(folder, config, {f"{NAME}.{part}": t for part, t in tensors.items()}))


def gptq(bits: int = 4, group: int = 32, *, centred: bool = False, v1: bool = False) -> tuple[Tensors, NDArray[np.float32]]:
    """(tensors, the weight they stand for, f32 [N, K])."""
    codes, zeros, scales = weight(bits, group, centred)
    tensors = {
        "qweight": gptq_words(codes, bits), "scales": scales, "g_idx": (np.arange(K) // group).astype(np.int32),
        "qzeros": np.ascontiguousarray(gptq_words((zeros - v1).T, bits).T),
    }  # fmt: skip
    return tensors, values(codes, zeros, scales, group)


def values(codes: Codes, zeros: Codes, scales: NDArray[np.float16], group: int, k: int = K) -> NDArray[np.float32]:
    exact = (codes - zeros.repeat(group, 0)[:k]) * scales.astype(np.float64).repeat(group, 0)[:k]
    return exact.T.astype(np.float32)


def read_back(c: HuggingFace) -> NDArray[np.float32]:
    t = c.tensors[f"{NAME}.weight"]
    assert t.shape == (N, K) and t.nbytes == c.data(t.name).size
    return dequantize(t.format, c.data(t.name)).reshape(N, K)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [32, 64, 768, -1])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("v1", [False, True])
def test_gptq_is_read(tmp_path: Path, bits: int, group: int, centred: bool, v1: bool) -> None:
    tensors, expected = gptq(bits, K if group == -1 else group, centred=centred, v1=v1)
    layout = "gptq" if v1 else "gptq_v2"
    c = directory(tmp_path / "m", tensors, quant_method="gptq", bits=bits, group_size=group, checkpoint_format=layout)
    np.testing.assert_allclose(read_back(c), expected, rtol=1e-6, atol=1e-6 * 255)
    fmt = c.tensors[f"{NAME}.weight"].format
    assert fmt == group_format(bits, min(256, K if group == -1 else group), not centred)
    c.release(f"{NAME}.weight")


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [32, 256])
def test_columns_in_act_order_are_stored_group_by_group(tmp_path: Path, bits: int, group: int) -> None:
    tensors, stored = gptq(bits, group)
    order = np.random.default_rng(0).permutation(K)
    codes = weight(bits, group, False)[0]  # what gptq packed
    groups = tensors["g_idx"][order]
    tensors |= {"qweight": gptq_words(codes[order], bits), "g_idx": groups}
    c = directory(tmp_path / "m", tensors, quant_method="gptq", bits=bits, group_size=group, checkpoint_format="gptq_v2")
    columns = c.tensors[f"{NAME}.weight"].columns
    assert columns == f"{NAME}.g_idx" and c.tensors[columns].shape == (K,)
    taken = c.data(columns).view("<i4")
    assert np.array_equal(taken, np.argsort(groups, kind="stable"))
    np.testing.assert_allclose(read_back(c), stored[:, order][:, taken], rtol=1e-6, atol=1e-6 * 255)
    c.release(columns)


def test_linears_with_one_order_share_it(tmp_path: Path) -> None:
    tensors, _ = gptq()
    mixed = tensors | {"g_idx": np.arange(K, dtype=np.int32) % 24}
    other = tensors | {"g_idx": mixed["g_idx"][::-1].copy()}
    layers = {"a": tensors, "b": mixed, "c": other, "d": mixed}
    parts = {f"{name}.{part}": t for name, each in layers.items() for part, t in each.items()}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    c = read_huggingface(write_directory(tmp_path / "m", config, parts))
    orders = {name: c.tensors[f"{name}.weight"].columns for name in layers}
    assert orders == {"a": None, "b": "b.g_idx", "c": "c.g_idx", "d": "b.g_idx"}
    assert sorted(c.tensors) == sorted([f"{name}.weight" for name in layers] + ["b.g_idx", "c.g_idx"])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("zeros", [False, True])
def test_tiles_keep_every_bit(bits: int, zeros: bool) -> None:
    fmt = group_format(bits, 64, zeros)
    raw = np.random.default_rng(0).integers(0, 256, N * fmt.row_bytes(K), dtype=np.uint8)
    packed = np.concatenate([*pack(fmt, raw, N, K)])
    assert packed.size == raw.size
    parts = unpack(fmt, packed, N, K)
    assert np.array_equal(parts.codes.reshape(-1, 64).max(1) < 1 << bits, np.ones(N * K // 64, bool))  # type: ignore[union-attr]
    again = unpack(fmt, packed, N, K)
    assert np.array_equal(again.codes, parts.codes)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("quantization", "kind", "word"),
    [
        ({"quant_method": "gptq", "bits": 5, "group_size": 32}, MalformedFileError, "bits is 5"),
        ({"quant_method": "gptq", "bits": True, "group_size": 32}, MalformedFileError, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, MalformedFileError, "group_size"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 16}, UnsupportedModelError, "group_size is 16"),
        ({"quant_method": "gptq", "bits": 4, "group_size": "32"}, MalformedFileError, "group_size"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "marlin"}, UnsupportedModelError, "marlin"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "bitblas"}, UnsupportedModelError, "bitblas"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "is_marlin_format": True}, UnsupportedModelError, "marlin"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": 1}, MalformedFileError, "desc_act"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": [1]}, MalformedFileError, "dynamic is an array"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {"+:x": 1}}, MalformedFileError, "dynamic"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32, "dynamic": {"x": {"bits": 5}}}, MalformedFileError, "bits is 5"),
    ],
)
def test_what_the_config_says_is_checked(quantization: Any, kind: type[LlmcError], word: str) -> None:
    with pytest.raises(kind, match=word):
        read_config(quantization, {})


def changed(**parts: NDArray[Any] | None) -> Tensors:
    tensors, _ = gptq()
    return {part: t for part, t in {**tensors, **parts}.items() if t is not None}


@pytest.mark.parametrize(
    ("tensors", "kind", "word"),
    [
        (changed(scales=None), MalformedFileError, r"scales is missing"),
        (changed(weight=np.zeros((N, K), np.float16)), MalformedFileError, r"up_proj.weight and .*qweight"),
        (changed(scales=np.zeros((4, N), np.float32)), MalformedFileError, r"scales is F32"),
        (changed(scales=np.zeros((3, N), np.float16)), MalformedFileError, r"scales has shape \[3, 32\]"),
        (changed(qweight=np.zeros((16, 0), np.int32)), MalformedFileError, r"qweight"),
        (changed(qweight=np.zeros(16, np.int32)), MalformedFileError, r"qweight is I32 \[16\]"),
        (changed(qweight=np.zeros((8, N), np.int32)), MalformedFileError, r"g_idx has 768 elements"),
        (changed(g_idx=np.zeros(9, np.int32)), MalformedFileError, r"g_idx"),
        (changed(g_idx=np.full(K, 24, np.int32)), MalformedFileError, r"g_idx holds 24"),
        (changed(g_idx=np.full(K, -1, np.int32)), MalformedFileError, r"g_idx holds -1"),
        (changed(g_idx=np.arange(K, dtype=np.int32) // 33), MalformedFileError, r"g_idx puts 33 columns in group 0, expected 32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, tensors: Tensors, kind: type[LlmcError], word: str) -> None:
    with pytest.raises(kind, match=word):
        directory(tmp_path / "m", tensors, quant_method="gptq", bits=4, group_size=32)


def test_a_zero_point_beyond_8_bits_is_refused(tmp_path: Path) -> None:
    tensors, _ = gptq(8)
    tensors["qzeros"] = np.full_like(tensors["qzeros"], -1)
    with pytest.raises(UnsupportedModelError, match="zero point 256"):
        directory(tmp_path / "m", tensors, quant_method="gptq", bits=8, group_size=32)


def test_a_quantization_without_quantised_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match="quantization_config is there"):
        directory(tmp_path / "m", {"weight": np.zeros((N, K), np.float16)}, quant_method="gptq", bits=4, group_size=32)


def test_the_file_beside_must_agree(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match="quantize_config.json: bits is 8"):
        read_config({"quant_method": "gptq", "bits": 4, "group_size": 32}, {"bits": 8})


def modules(folder: Path, linears: dict[str, Tensors], **quantization: Any) -> HuggingFace:
    parts = {f"{name}.{part}": t for name, tensors in linears.items() for part, t in tensors.items()}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {"quant_method": "gptq", **quantization}}
    return read_huggingface(write_directory(folder, config, parts))


def test_rules_for_single_modules_are_followed(tmp_path: Path) -> None:
    """The first pattern that matches decides; what it does not say is as elsewhere."""
    (eight, w8), (two, w2), (four, w4) = gptq(8, 64), gptq(2, K), gptq(4, 32)
    dense = {"weight": np.ones((N, K), np.float16)}
    dynamic = {
        r"+:.*\.down_proj$": {"bits": 8, "group_size": 64},
        r"-:.*\.gate_proj": {},
        r"model\.layers\.1\..*": {"bits": 2, "group_size": -1},
        r".*": {"mse": 1.0},
    }
    linears = {
        "model.layers.1.mlp.down_proj": eight, "model.layers.1.mlp.up_proj": two, "model.layers.0.mlp.up_proj": four,
        "model.layers.1.mlp.gate_proj": dense,
    }  # fmt: skip
    c = modules(tmp_path / "m", linears, bits=4, group_size=32, checkpoint_format="gptq_v2", dynamic=dynamic)
    for name, expected in zip(linears, (w8, w2, w4, np.ones((N, K))), strict=True):
        t = c.tensors[f"{name}.weight"]
        read = dequantize(t.format, c.data(t.name)).reshape(N, K)
        np.testing.assert_allclose(read, expected, rtol=1e-6, atol=1e-6 * 255)


def test_a_module_left_out_by_a_rule_has_no_codes(tmp_path: Path) -> None:
    with pytest.raises(MalformedFileError, match=r"a.qweight is there, but .* dynamic"):
        modules(tmp_path / "m", {"a": gptq()[0]}, bits=4, group_size=32, dynamic={"-:a": {}})


def test_act_order_needs_the_groups_of_columns(tmp_path: Path) -> None:
    tensors = {part: t for part, t in gptq()[0].items() if part != "g_idx"}
    with pytest.raises(MalformedFileError, match="g_idx is missing"):
        modules(tmp_path / "m", {"a": tensors}, bits=4, group_size=32, desc_act=True)


def test_the_last_group_may_be_short(tmp_path: Path) -> None:
    """768 columns in groups of 512: blocks are as wide as what both groups are made of."""
    rng = np.random.default_rng(0)
    codes, zeros, scales = rng.integers(0, 16, (K, N)), rng.integers(1, 16, (2, N)), rng.normal(size=(2, N)).astype(np.float16)
    tensors = {
        "qweight": gptq_words(codes, 4), "qzeros": np.ascontiguousarray(gptq_words((zeros - 1).T, 4).T), "scales": scales,
    }  # fmt: skip
    c = directory(tmp_path / "m", tensors, quant_method="gptq", bits=4, group_size=512)
    expected = values(codes, zeros, scales, 512, K)
    np.testing.assert_allclose(read_back(c), expected, rtol=1e-6, atol=1e-5)


def test_scales_of_bfloat16_stay_so(tmp_path: Path) -> None:
    tensors, expected = gptq()
    halves = bf16(tensors["scales"].astype(np.float32))
    folder = tmp_path / "m"
    modules(folder, {NAME: tensors | {"scales": halves}}, bits=4, group_size=32, checkpoint_format="gptq_v2")
    c = read_huggingface(folder)
    ratio = (halves.astype(np.uint32) << 16).view(np.float32) / tensors["scales"].astype(np.float32)
    np.testing.assert_allclose(read_back(c), expected * ratio.T.repeat(32, 1), rtol=1e-5, atol=1e-3)
    assert c.tensors[f"{NAME}.weight"].format == group_format(4, 32, True, "bf16")
