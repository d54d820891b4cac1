"""Models whose layers keep a state: several sequences at once, slots that are used again, and what they refuse."""

import numpy as np
import pytest

import llmc
from llmc.artifact import read_manifest
from llmc.errors import LlmcError
from tests.e2e.reference import RECURRENT, Compiled, Reference

every_fixture = pytest.mark.parametrize("fixture", RECURRENT)


@every_fixture
def test_sequences_of_one_step_do_not_touch_each_other(compiled: Compiled, reference: Reference) -> None:
    with llmc.load(compiled(reference.model, "f32"), threads=2) as model:
        texts = [reference.tokens(2)[i : i + n] for i, n in ((0, 40), (7, 33), (90, 1))]
        alone = [model.logits(ids) for ids in texts]
        with model.session(max_sequences=3) as session:
            sequences = [session.open() for _ in texts]
            first = session.step({q: ids[: n // 2 + 1] for q, ids, n in zip(sequences, texts, map(len, texts), strict=True)})
            rest = {q: ids[len(ids) // 2 + 1 :] for q, ids in zip(sequences, texts, strict=True)}
            second = session.step({q: ids for q, ids in reversed(rest.items()) if len(ids)})
        got = [first[:21], first[21:38], first[38:39]]
        assert np.array_equal(got[2], alone[2])
        assert np.array_equal(np.concatenate([got[0], second[16:]]), alone[0])
        assert np.array_equal(np.concatenate([got[1], second[:16]]), alone[1])


@every_fixture
def test_a_slot_used_again_starts_from_nothing(compiled: Compiled, reference: Reference) -> None:
    with llmc.load(compiled(reference.model, "f32"), threads=1) as model, model.session() as session:
        ids = reference.tokens(0)
        sequence = session.open()
        fresh = session.prefill(sequence, ids)
        session.truncate(sequence, 0)
        assert np.array_equal(session.prefill(sequence, ids), fresh)
        session.close_sequence(sequence)
        assert np.array_equal(session.prefill(session.open(), ids), fresh)


@every_fixture
def test_a_state_cannot_go_back(compiled: Compiled, reference: Reference) -> None:
    with llmc.load(compiled(reference.model, "f32"), threads=1) as model, model.session() as session:
        sequence = session.open()
        session.prefill(sequence, reference.tokens(0)[:5])
        session.truncate(sequence, 5)
        with pytest.raises(LlmcError, match="cannot go back from 5 to 3 tokens: recurrent layers keep no past"):
            session.truncate(sequence, 3)


@every_fixture
def test_the_manifest_lists_the_slots_and_promises_a_tolerance(compiled: Compiled, reference: Reference) -> None:
    artifact = compiled(reference.model, "f32")
    facts = read_manifest(artifact)
    (states,) = [group for group in facts["cache"] if group["kind"] == "state"]
    assert states["slot_bytes"] > 0 and "within a tolerance" in facts["promise"]
    with llmc.load(artifact) as model:
        assert model.info.state_bytes == states["slot_bytes"]
    assert llmc.inspect(artifact)["memory"]["state"] == states["slot_bytes"]
