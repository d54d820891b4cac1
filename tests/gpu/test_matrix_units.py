"""Whole models whose linears and attention run on matrix units, with activations as halves: the kernels of templates/cuda."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.codegen.gpu.build import missing
from llmc.codegen.gpu.spec import CudaSpec
from tests.e2e.reference import Reference, kl
from tests.gpu.driver import FakeDriver
from tests.gpu.models import specs

pytestmark = pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")

SHARE_OF_INT8 = 1e-3  # of the divergence that int8 activations may cause: halves keep 11 bits of 8


@pytest.mark.parametrize("fixture", ["gemma2", "q_Q4_K_M"])
def test_halves_lose_little(tmp_path: Path, reference: Reference, driver: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    out = tmp_path / "model.llmc"
    llmc.compile(reference.model, out, targets=["cuda:sm_80"])
    driver.reset(specs(reference.model, exact=False), execute=True)
    pairs = [*reference.pairs(out)]
    assert not driver.wrong, driver.wrong[0]
    divergences = np.concatenate([kl(recorded, computed) for recorded, computed in pairs])
    assert divergences.mean() <= SHARE_OF_INT8 * reference.int8_kl_mean
    matrix = {name for name in driver.launched if isinstance(driver.kernels[name], CudaSpec)}
    assert not any(name.startswith("linear_") for name in set(driver.launched) - matrix)
    assert {"halve"} < matrix and any(name.startswith("attention_mma") for name in matrix)
