"""The int8 cache of keys and values: what it costs, what it saves, and that it keeps the promise about bits."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc import artifact, inspection
from llmc.errors import UsageError
from tests.e2e.reference import Compiled, Reference, kl
from tests.e2e.test_logits import uneven

# Plain, with a window and capped scores, with sinks, a head of 72 features, layers without a cache: mean KL 2e-5 to 3e-4.
FIXTURES = ["llama", "gemma2", "gpt_oss", "phi3", "mistral", "lfm2"]
MEAN_KL = 1e-3
every_fixture = pytest.mark.parametrize("fixture", FIXTURES)


@pytest.fixture
def quantised(reference: Reference, tmp_path: Path) -> Path:
    out = tmp_path / "q8.llmc"
    llmc.compile(reference.model, out, targets=["cpu:native"], kv="q8")
    return out


@every_fixture
def test_costs_little_beside_exact_arithmetic(reference: Reference, quantised: Path) -> None:
    divergence = np.concatenate([kl(recorded, computed) for recorded, computed in reference.pairs(quantised)])
    assert 0 < divergence.mean() <= reference.int8_kl_mean + MEAN_KL


@pytest.mark.parametrize("fixture", ["llama", "gemma2"])
def test_bits_do_not_depend_on_chunks_or_threads(reference: Reference, quantised: Path) -> None:
    ids = reference.tokens(2)
    whole = llmc.load(quantised, threads=1).logits(ids)
    assert np.isfinite(whole).all()
    for threads in (1, 2):
        model = llmc.load(quantised, threads=threads)
        for chunks in (uneven(len(ids)), [1] * len(ids)):
            assert np.array_equal(model.logits(ids, chunks=chunks), whole), (threads, chunks[:4])


@pytest.mark.parametrize("fixture", ["llama"])
def test_takes_half_the_memory_and_says_its_error(reference: Reference, quantised: Path, compiled: Compiled) -> None:
    q8, f16 = (artifact.read_manifest(path)["cache"][0] for path in (quantised, compiled(reference.model)))
    assert (q8["dtype"], f16["dtype"]) == ("q8", "f16")
    assert q8["page_bytes"] == f16["page_bytes"] * (q8["head_dim"] + 4) // (2 * q8["head_dim"])
    assert "1/254" in q8["error"] and "1/254" in inspection.text(inspection.inspect(quantised))


@pytest.mark.parametrize("fixture", ["llama"])
def test_a_sequence_that_was_cut_back_gives_the_same_bits(reference: Reference, quantised: Path) -> None:
    """Scales that later tokens left behind are not looked at."""
    ids = reference.tokens(2)
    with llmc.load(quantised, threads=1) as model, model.session() as session:
        sequence = session.open()
        session.prefill(sequence, ids)
        session.truncate(sequence, 3)
        again = session.prefill(sequence, ids[3:5])
        session.truncate(sequence)
        assert np.array_equal(again, session.prefill(sequence, ids[:5]))


def test_refuses_other_types(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keys and values"):
        llmc.compile(tmp_path, tmp_path / "out", targets=["cpu:native"], kv="q4")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fixture", ["deepseek_v2"])
def test_refuses_latents(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="latents"):
        llmc.compile(reference.model, tmp_path / "out", targets=["cpu:native"], kv="q8")
    assert not (tmp_path / "out").exists()
