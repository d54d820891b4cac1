"""`--weights`: compiled models compute what their graph does with weights stored in another format, and say what that changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmc
from benchmarks import make_model
from llmc.frontend.load import open_model
from llmc.passes.pipeline import optimize
from llmc.requantization import formats_for
from tests.e2e.test_interpreter import TOLERANCE, Interpreter, weights

IDS = np.random.default_rng(5).integers(0, 500, 40).tolist()


class Requantized(Interpreter):
    """The optimised graph with other formats, in exact arithmetic."""

    def __init__(self, model: Path, fmt: str) -> None:
        opened = open_model(model)
        self.graph = optimize(opened.graph, "f32", formats=formats_for(fmt))
        self.weights = weights(opened.checkpoint)


def compile_as(source: Path, out: Path, fmt: str) -> dict[str, Any]:
    result = llmc.compile(source, out, targets=["cpu:native"], activations="f32", weights=fmt)
    assert result.requantized is not None
    return result.requantized


@pytest.mark.parametrize("fmt", ["q4_k", "q8_0", "f16", "bf16"])
def test_a_dense_model_computes_its_quantised_graph(shared: Path, tmp_path: Path, fmt: str) -> None:
    source = shared / "models" / "open" / "llama_f32" / "model.gguf"
    lost = compile_as(source, tmp_path / "m.llmc", fmt)
    expected = Requantized(source, fmt).logits(IDS)
    assert np.abs(llmc.load(tmp_path / "m.llmc", threads=2).logits(IDS) - expected).max() <= TOLERANCE
    assert lost == llmc.inspect(tmp_path / "m.llmc")["requantized"]
    assert 0 < lost["relative_error"] < {"q4_k": 0.08, "q8_0": 0.006, "f16": 3e-4, "bf16": 2.5e-3}[fmt]
    assert {t["to"] for t in lost["tensors"]} == ({"q5_0", "q8_0"} if fmt == "q4_k" else {fmt})  # rows of 192


def test_experts_are_stored_anew_and_their_router_is_not(tmp_path: Path) -> None:
    source = tmp_path / "m.gguf"
    make_model.make("tiny-moe", "q4_0", source)
    lost = compile_as(source, tmp_path / "m.llmc", "q8_0")
    expected = Requantized(source, "q8_0").logits(IDS)
    assert np.abs(llmc.load(tmp_path / "m.llmc", threads=2).logits(IDS) - expected).max() <= TOLERANCE
    names = " ".join(t["name"] for t in lost["tensors"])
    assert "ffn_down_exps" in names and "ffn_gate_inp" not in names


def test_the_same_weights_give_the_same_bytes(shared: Path, tmp_path: Path) -> None:
    source = shared / "models" / "open" / "llama_f32" / "model.gguf"
    for name in ("a", "b"):
        compile_as(source, tmp_path / name, "q4_k")
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
