"""Layers with a window keep what it reaches, however long the text: less memory, and the bits that a text in one piece has."""

from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.runtime.binding import Model
from tests.e2e.reference import Compiled

TOKENS = 500


def cut(n: int) -> list[int]:
    """Chunks that end before, at and after the ends of pages and windows."""
    pattern = (128, 1, 1, 62, 64, 17, 1, 30, 100, 2)
    lengths: list[int] = []
    while n > sum(lengths):
        lengths.append(min(pattern[len(lengths) % len(pattern)], n - sum(lengths)))
    return lengths


@pytest.fixture(params=["mistral_swa", "gemma2", "gpt_oss"])
def model(request: pytest.FixtureRequest, shared: Path, compiled: Compiled) -> Model:
    folder = shared / "models" / "open" / request.param
    source = folder / "model.gguf"
    return llmc.load(compiled(source if source.is_file() else folder / "hf"), threads=2)


def test_memory_is_bounded_and_bits_are_those_of_any_cut(model: Model) -> None:
    ids = np.random.default_rng(1).integers(0, model.info.vocab, TOKENS)
    bound, grown = model.info.window_bytes, model.info.page_bytes * -(-TOKENS // model.info.page_tokens)
    rows, peaks = [], []
    with model.session(context=TOKENS) as session:
        sequence = session.open()
        for part in np.split(ids, np.cumsum(cut(TOKENS))[:-1]):
            rows.append(session.step({sequence: part}))
            peaks.append(session.memory()["cache_peak_bytes"])
    assert peaks[-1] <= bound + grown < _everything(model, TOKENS)
    assert np.array_equal(np.concatenate(rows), model.logits(ids, chunks=[1] * TOKENS))


def test_generation_does_not_grow(model: Model) -> None:
    """Token by token, the pages of a window are two or three more than it holds, and stay that many."""
    with model.session(context=TOKENS) as session:
        sequence, held = session.open(), []
        for token in range(TOKENS):
            session.step({sequence: [token % 50]})
            pages = -(-(token + 1) // model.info.page_tokens)
            held.append(session.memory()["cache_bytes"] - pages * model.info.page_bytes)
    assert max(held[TOKENS // 2 :]) <= max(held[: TOKENS // 2]) <= model.info.window_bytes


def test_inspect_tells_the_memory(model: Model) -> None:
    facts = llmc.inspect(model.path, context=TOKENS)
    (group,) = [group for group in facts["cache"] if group["kind"] == "window"]
    assert group["most_pages"] * group["page_bytes"] == model.info.window_bytes == facts["memory"]["window"]
    assert facts["memory"]["kv"] == facts["memory"]["window"] + facts["memory"]["kv_per_token"] * TOKENS


def _everything(model: Model, tokens: int) -> int:
    """Bytes of the pages of all layers, had they no windows."""
    groups = llmc.inspect(model.path)["cache"]
    return sum(group["page_bytes"] for group in groups) * -(-tokens // model.info.page_tokens)
