"""Parts of stored tensors shown as tensors of their own, and the experts of gpt-oss in MXFP4."""

from dataclasses import replace

import numpy as np
import pytest

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Tensor
from llmc.frontend.mxfp4_experts import read_linears
from llmc.frontend.quant import FORMATS
from llmc.frontend.quantized import Linear, Source
from llmc.frontend.safetensors import Stored
from llmc.frontend.views import View, fused_experts, vectors, view
from llmc.ir.quant import dequantize

LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])  # of E2M1, by code


def stored(*shape: int, format: str = "f16") -> tuple[Tensor, Bytes]:
    fmt = FORMATS[format]
    nbytes = int(np.prod(shape[:-1])) * fmt.row_bytes(shape[-1])
    return Tensor("w", fmt, shape, 0, 0, nbytes), np.random.default_rng(1).integers(0, 256, nbytes, np.uint8)


def elements(v: View, raw: Bytes) -> np.ndarray:
    shown = v.assemble(lambda part: raw)
    assert shown.nbytes == v.tensor.nbytes and np.array_equal(np.concatenate([*v.pieces(lambda part: raw)]), shown)
    return shown.view("u2").reshape(v.tensor.shape)


def test_rows_of_each_matrix() -> None:
    source, raw = stored(12, 8)
    whole = raw.view("u2").reshape(3, 4, 8)
    v = view(source, "v", matrices=3, rows=slice(1, 3))
    assert v.tensor.shape == (3, 2, 8) and np.array_equal(elements(v, raw), whole[:, 1:3])
    flat = view(source, "v", matrices=3, rows=slice(3, None), flat=True)
    assert flat.tensor.shape == (3, 8) and np.array_equal(elements(flat, raw), whole[:, 3])


def test_a_transposed_matrix_is_exchanged_before_rows_are_counted() -> None:
    source, raw = stored(2, 6, 4)
    v = view(source, "v", matrices=2, rows=slice(0, None, 2), transposed=True)
    assert np.array_equal(elements(v, raw), raw.view("u2").reshape(2, 6, 4).transpose(0, 2, 1)[:, ::2])


def test_rows_of_blocks_keep_their_bytes() -> None:
    source, raw = stored(2, 4, 64, format="q4_0")
    v = view(source, "v", matrices=2, rows=slice(1, None, 2))
    assert np.array_equal(v.assemble(lambda part: raw), raw.reshape(2, 4, -1)[:, 1::2].reshape(-1))


def test_elements_of_vectors() -> None:
    source, raw = stored(3, 8)
    v = vectors(source, "v", slice(1, None, 2))
    assert np.array_equal(elements(v, raw), raw.view("u2").reshape(3, 8)[:, 1::2])


def test_gates_are_a_half_or_every_second_row() -> None:
    source, raw = stored(2, 8, 4)
    tensors = {f"m.0.{name}": replace(source, name=f"m.0.{name}") for name in ("gate_up_proj", "down_proj")}
    for interleaved, gate in ((False, slice(0, 4)), (True, slice(0, None, 2))):
        shown = fused_experts(tensors, "m.{i}", 1, transposed=False, interleaved=interleaved)
        assert sorted(shown) == ["m.0.down_proj.weight", "m.0.gate_proj.weight", "m.0.up_proj.weight"]
        assert np.array_equal(elements(shown["m.0.gate_proj.weight"], raw), raw.view("u2").reshape(2, 8, 4)[:, gate])


def test_what_cannot_be_cut_is_refused_by_its_name() -> None:
    with pytest.raises(MalformedFileError, match="tensor w of shape .12, 8. is no stack of 5"):
        view(stored(12, 8)[0], "v", matrices=5)
    with pytest.raises(UnsupportedModelError, match="tensor w of type q4_0 would have to be transposed"):
        view(stored(2, 4, 64, format="q4_0")[0], "v", transposed=True)
    with pytest.raises(UnsupportedModelError, match="act-order"):
        view(replace(stored(12, 8)[0], columns="w.order"), "v")
    with pytest.raises(MalformedFileError, match="no list of vectors"):
        vectors(stored(2, 3, 4)[0], "v", slice(None))


def mxfp4(*shape: int, dtype: str = "U8", scales: tuple[int, ...] | None = None) -> dict[str, Stored]:
    scales = shape[:-1] if scales is None else scales
    parts = {"w_blocks": (shape, dtype), "w_scales": (scales, "U8")}
    return {name: Stored(name, kind, of, 0, 0, int(np.prod(of))) for name, (of, kind) in parts.items()}


def packed(parts: dict[str, Stored]) -> Linear:
    (linear,) = read_linears(Source({}, {}, parts, lambda part: np.zeros(part.nbytes, np.uint8))).values()
    return linear


def test_codes_of_two_neighbours_share_a_byte() -> None:
    rng = np.random.default_rng(3)
    stack = packed(mxfp4(2, 3, 2, 16))
    raw = {"w_blocks": rng.integers(0, 256, (2, 3, 2, 16), np.uint8), "w_scales": rng.integers(120, 135, (2, 3, 2), np.uint8)}
    shown = stack.assemble(lambda part: raw[part.name].reshape(-1))
    pairs, exponents = raw["w_blocks"], raw["w_scales"].astype(np.float64) - 127
    expected = np.stack([LEVELS[pairs & 15], LEVELS[pairs >> 4]], -1).reshape(2, 3, 2, 32) * 2.0 ** exponents[..., None]
    assert stack.tensor.name == "w" and stack.tensor.shape == (2, 3, 64) and shown.nbytes == stack.tensor.nbytes
    assert np.array_equal(dequantize(stack.tensor.format, shown), expected.reshape(-1).astype(np.float32))


def test_mxfp4_without_its_scales_or_of_another_shape_is_refused() -> None:
    with pytest.raises(MalformedFileError, match="w_scales is missing"):
        packed({"w_blocks": mxfp4(2, 3, 2, 16)["w_blocks"]})
    with pytest.raises(MalformedFileError, match=r"w_blocks has shape \[2, 3, 2, 8\]"):
        packed(mxfp4(2, 3, 2, 8))
    with pytest.raises(MalformedFileError, match="w_blocks has shape"):
        packed(mxfp4(2, 3, 2, 16, scales=(2, 3, 3)))
    with pytest.raises(MalformedFileError, match="w_blocks has dtype BF16"):
        packed(mxfp4(2, 3, 2, 16, dtype="BF16"))
