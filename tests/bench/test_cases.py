"""What is measured, and the limits it is measured against."""

import math

import pytest

from benchmarks import cases
from benchmarks.cases import Case, batch, decode, prefill
from benchmarks.models import Model

TINY, HALF = Model("tiny", "q4_0"), Model("tiny", "f16")
# 4 layers of q, k, v, output and three feed-forward matrices, by hand from the shape (hidden 256, 8/2 heads of 32, ffn 768).
LAYERS = 4 * (256 * 256 + 2 * 64 * 256 + 256 * 256 + 3 * 768 * 256)
HEAD = 4096 * 256


def test_operations_are_two_per_weight_and_token_and_the_head_is_counted_by_row() -> None:
    assert TINY.operations(128, heads=1) == 2 * (128 * LAYERS + HEAD)


def test_only_used_experts_count() -> None:
    attention, router = 3 * (2 * 256 * 256 + 2 * 64 * 256), 3 * 0
    assert Model("tiny-moe", "q4_0").operations(1, heads=0) == 2 * (attention + router + 3 * 3 * 3 * 512 * 256)


def test_a_tied_embedding_is_read_and_another_is_not() -> None:
    assert TINY.read_share(0) == 1
    big = Model("mistral-7b", "f16")
    assert math.isclose(big.read_share(0), 1 - 32000 * 4096 / (7241.7e6), rel_tol=1e-4)


def test_depth_adds_the_cache() -> None:
    weights = 2 * (LAYERS + HEAD)
    assert math.isclose(HALF.read_share(100), 1 + 100 * 4 * 2 * 64 * 2 / weights)


def test_prefill_is_limited_by_arithmetic_and_decode_by_reading() -> None:
    operations = TINY.operations(512, 1)
    assert prefill(512).limit_seconds(TINY, 0.0, 2 * operations) == 0.5
    assert decode(0).limit_seconds(HALF, 0.25, 1e12) == 64 * 0.25 * HALF.read_share(32)


def test_a_batch_is_limited_by_whichever_is_slower() -> None:
    q = batch(16)
    assert q.limit_seconds(TINY, 1.0, 1e30) == 16.0 * TINY.read_share(0)
    assert q.limit_seconds(TINY, 1e-9, TINY.operations(256, 256)) == 1.0


def test_what_has_no_known_limit_says_none() -> None:
    assert prefill(512).limit_seconds(HALF, 0.0, 1e12) is None
    assert prefill(512).limit_seconds(TINY, 0.0, 0.0) is None


def test_cases_are_chosen_by_model_and_by_name() -> None:
    every = cases.everything(("llama-1b",))
    assert len({(c.model, c.threads) for c in every}) == 8
    one = [*cases.chosen(every, lambda c: c.threads == 2, "decode")]
    assert {len(c.questions) for c in one} == {2} and not any(c.start for c in one) and len(one) == 4
    assert [c.questions for c in cases.chosen([Case(TINY, 1)], lambda c: True, "start")] == [()]
    assert [*cases.chosen([Case(TINY, 1)], lambda c: True, "no such name")] == []


@pytest.mark.parametrize("case", cases.quick())
def test_the_bounded_set_asks_the_1b_shape(case: Case) -> None:
    assert case.model.shape == "llama-1b" and case.questions
