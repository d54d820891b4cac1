"""Experts without a gate, in block formats: int8 activations cost little, and bits depend on nothing but the text."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from tests.e2e.reference import kl
from tests.e2e.test_logits import uneven
from tests.e2e.tiny_transformers import VOCAB, Tiny, build

IDS = np.random.default_rng(5).integers(2, VOCAB - 1, 150).tolist()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    parts = ["moe", "full_attention", "moe"]
    return build(
        "NemotronH", tmp_path_factory.mktemp("ungated") / "model", num_hidden_layers=None, layers_block_type=parts, head_dim=16,
        n_routed_experts=6, moe_intermediate_size=96, moe_shared_expert_intermediate_size=64,
    )  # fmt: skip


@pytest.mark.parametrize("weights", ["q8_0", "q4_0"])
def test_block_formats_compute_what_they_hold(tiny: Tiny, tmp_path: Path, weights: str) -> None:
    for activations in ("f32", "int8"):
        out = tmp_path / f"{activations}.llmc"
        llmc.compile(tiny.folder, out, targets="cpu:native", activations=activations, weights=weights)
    exact, int8 = (llmc.load(tmp_path / f"{name}.llmc", threads=2).logits(IDS) for name in ("f32", "int8"))
    assert 0 < kl(exact, int8).mean() <= 0.01
    if weights == "q8_0":
        assert kl(tiny.logits(IDS), exact).mean() <= 0.01
    for threads, chunks in ((1, [len(IDS)]), (2, uneven(len(IDS))), (5, [1] * len(IDS))):
        model = llmc.load(tmp_path / "int8.llmc", threads=threads)
        assert np.array_equal(model.logits(IDS, chunks=chunks), int8)
