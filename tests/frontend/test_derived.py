"""Weights computed from what a directory stores: norms with one added, experts as one tensor."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.derived import grouped_qkv, norms_plus_one, rows_in_order, transposed
from llmc.frontend.huggingface import HuggingFace, read_huggingface
from tests.safetensors_bytes import write_directory

CONFIG = {"architectures": ["LlamaForCausalLM"]}
NORM = "model.layers.0.input_layernorm.weight"
EXPERTS = {f"x.experts.{i}.w1.weight": np.full((2, 3), i, np.float16) for i in (10, *range(10))}
STACK = "x.experts.w1.weight"


def opened(folder: Path, tensors: dict[str, NDArray[Any]]) -> HuggingFace:
    return read_huggingface(write_directory(folder, CONFIG, tensors))


def test_norms_are_shown_with_one_added_in_f32(tmp_path: Path) -> None:
    matrix, half = np.ones((4, 16), np.float16), np.array([0.25, -1.5, 2**-12], np.float16)
    stored = opened(tmp_path / "m", {"embed.weight": matrix, NORM: half, "model.norm.weight": np.array([2**-24], np.float32)})
    shown = stored.showing(norms_plus_one(stored.tensors))
    assert shown.data(NORM).view(np.float32).tolist() == [1.25, -0.5, 1 + 2**-12]
    assert shown.data("model.norm.weight").view(np.float32).tolist() == [1.0]
    assert shown.tensors[NORM].format.name == "f32" and shown.tensors[NORM].nbytes == 12
    assert np.array_equal(shown.data("embed.weight"), matrix.view(np.uint8).ravel())
    shown.release(NORM)
    assert stored.data(NORM).size == 6  # what was opened stays as it was


def test_experts_are_one_tensor_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    c = opened(tmp_path / "m", EXPERTS)
    assert list(c.tensors) == [STACK] and c.tensors[STACK].shape == (11, 2, 3) and c.tensors[STACK].nbytes == 132
    expected = np.repeat(np.arange(11, dtype=np.float16), 6)
    assert np.array_equal(c.data(STACK).view(np.float16), expected)
    pieces = [piece.view(np.float16) for piece in c.pieces(STACK)]
    assert [piece.size for piece in pieces] == [6] * 11 and np.array_equal(np.concatenate(pieces), expected)
    c.release(STACK)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x.experts.12.w1.weight": np.ones((2, 3), np.float16)}, "of number 11 is missing"),
        ({"x.experts.3.w1.weight": np.ones((3, 2), np.float16)}, "x.experts.3.w1.weight has another shape"),
        ({"x.experts.3.w1.weight": np.ones((2, 3), np.float32)}, "x.experts.3.w1.weight has another shape or format"),
        ({STACK: np.ones(1, np.float16)}, f"{STACK} is there beside"),
    ],
)
def test_experts_that_do_not_match_are_named(tmp_path: Path, changes: dict[str, NDArray[Any]], words: str) -> None:
    with pytest.raises(MalformedFileError, match=words):
        opened(tmp_path / "m", {**EXPERTS, **changes})


def test_rows_and_linears_are_put_right(tmp_path: Path) -> None:
    c = opened(tmp_path / "m", {"qkv.weight": np.arange(12, dtype=np.float32).reshape(6, 2)})
    order = grouped_qkv(1, 4, 1)
    shown = c.showing({"qkv.weight": rows_in_order(c.tensors["qkv.weight"], order[::-1])})
    assert np.array_equal(shown.data("qkv.weight").view(np.float32).reshape(6, 2)[:, 0], np.arange(10, -1, -2))
    assert grouped_qkv(2, 1, 2).tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]
    turned = c.showing({"qkv.weight": transposed(c.tensors["qkv.weight"])})
    assert turned.tensors["qkv.weight"].shape == (2, 6)
    assert turned.data("qkv.weight").view(np.float32)[:6].tolist() == [0, 2, 4, 6, 8, 10]


def test_rows_that_have_factors_beside_them_are_not_put_in_another_order(tmp_path: Path) -> None:
    tensor = opened(tmp_path / "m", {"qkv.weight": np.zeros((6, 2), np.float32)}).tensors["qkv.weight"]
    with pytest.raises(UnsupportedModelError, match="qkv.weight_scale"):
        rows_in_order(replace(tensor, scales="qkv.weight_scale"), np.arange(6))
    with pytest.raises(MalformedFileError, match="qkv.weight has 6 rows"):
        rows_in_order(tensor, np.arange(5))
