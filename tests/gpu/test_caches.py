"""What a device keeps of sequences between steps: states that go on and begin anew, keys and values in eight bits."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.codegen.gpu.build import missing
from llmc.codegen.gpu.lower import lower
from llmc.frontend.load import open_model
from llmc.passes.pipeline import optimize
from tests.e2e.reference import Reference, kl
from tests.gpu.driver import FakeDriver
from tests.gpu.models import specs

pytestmark = pytest.mark.skipif(missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")
MEAN_KL = 1e-3  # of eight bits, as on processors


@pytest.mark.parametrize("fixture", ["lfm2"])
def test_states_go_on_from_step_to_step_and_begin_anew(tmp_path: Path, reference: Reference, driver: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    out = tmp_path / "model.llmc"
    llmc.compile(reference.model, out, targets=["cuda:sm_80"], activations="f32")
    driver.reset(specs(reference.model), execute=True)
    ids = max((reference.tokens(i) for i in reference.sequences), key=len)[:12]
    with llmc.load(out) as model:
        whole = model.logits(ids)
        assert np.abs(model.logits(ids, chunks=[5, 1, len(ids) - 6]) - whole).max() <= reference.f32_max_abs
        with model.session(max_sequences=2) as session:
            a, b = session.open(), session.open()
            session.step({a: ids[:3], b: ids[:7]})
            session.truncate(a)
            rows = session.step({a: ids, b: ids[7:]})
    assert not driver.wrong, driver.wrong[0]
    assert np.abs(rows - np.concatenate([whole, whole[7:]])).max() <= reference.f32_max_abs


@pytest.mark.parametrize("fixture", ["llama"])
def test_eight_bits_cost_little(tmp_path: Path, reference: Reference, driver: FakeDriver) -> None:
    pytest.importorskip("pyopencl")
    out = tmp_path / "model.llmc"
    llmc.compile(reference.model, out, targets=["cuda:sm_80"], activations="f32", kv="q8")
    driver.reset(lower(optimize(open_model(reference.model).graph, "f32", "q8"), exact=True).specs, execute=True)
    recorded, computed = next(iter(reference.pairs(out)))
    assert not driver.wrong, driver.wrong[0]
    assert 0 < kl(recorded, computed).mean() <= MEAN_KL
