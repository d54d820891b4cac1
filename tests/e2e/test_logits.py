"""Compiled models against recorded logits, and against themselves: bits do not depend on chunking or threads."""

import numpy as np
import pytest

import llmc
from tests.e2e.reference import FIXTURES, Compiled, Reference, kl

every_fixture = pytest.mark.parametrize("fixture", FIXTURES)
both_modes = pytest.mark.parametrize("activations", ["f32", "int8"])


@every_fixture
def test_exact_arithmetic_gives_the_recorded_logits(compiled: Compiled, reference: Reference) -> None:
    pairs = reference.pairs(compiled(reference.model, "f32"))
    worst = max(float(np.abs(recorded - computed).max()) for recorded, computed in pairs)
    assert worst <= reference.f32_max_abs


@every_fixture
def test_int8_activations_cost_no_more_than_the_references_own(compiled: Compiled, reference: Reference) -> None:
    pairs = reference.pairs(compiled(reference.model, "int8"))
    divergence = np.concatenate([kl(recorded, computed) for recorded, computed in pairs])
    assert divergence.mean() <= reference.int8_kl_mean


@every_fixture
@both_modes
def test_bits_do_not_depend_on_chunks_or_threads(compiled: Compiled, reference: Reference, activations: str) -> None:
    artifact = compiled(reference.model, activations)
    ids = reference.tokens(2)
    whole = llmc.load(artifact, threads=1).logits(ids)
    assert whole.shape[0] == len(ids) and np.isfinite(whole).all()
    for threads in (1, 2):
        model = llmc.load(artifact, threads=threads)
        for chunks in ([len(ids)], uneven(len(ids)), [1] * len(ids)):
            assert np.array_equal(model.logits(ids, chunks=chunks), whole), (threads, chunks[:4])


def uneven(n: int) -> list[int]:
    """Chunk lengths that add up to n and fit no tile: 17, 3, 1, 31, 64, 5 and so on."""
    lengths: list[int] = []
    for length in (17, 3, 1, 31, 64, 5, 2, 16, 33) * n:
        if sum(lengths) + length >= n:
            return [*lengths, n - sum(lengths)]
        lengths.append(length)
    raise AssertionError(n)


def test_uneven_chunks_cover_the_prompt() -> None:
    assert all(sum(uneven(n)) == n and min(uneven(n)) > 0 for n in (1, 17, 18, 64, 200))
