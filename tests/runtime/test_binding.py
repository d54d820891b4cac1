"""llmc.runtime.binding on the fake model: steps, text, threads, errors, and what happens when things are closed or dropped."""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmc.errors import DeviceError, MalformedFileError, ToolchainError, UsageError
from llmc.runtime import binding
from llmc.runtime.binding import CancelledError, Model, Tokenizer
from llmc.runtime.c_types import Reason
from tests.runtime import fake

IDS = np.random.default_rng(1).integers(0, 300, 400).tolist()
FIRST = "Hello é€ world<stop>more"


@pytest.fixture
def model(fake_artifact: Path) -> Iterator[Model]:
    with binding.load(fake_artifact, threads=2) as model:
        yield model


def test_facts(model: Model) -> None:
    assert (model.name, model.isa, model.threads, model.context) == ("fake", "best", 2, 1000)
    assert (model.info.vocab, model.info.max_step_tokens, model.info.page_tokens) == (300, 128, 64)


def test_logits_have_the_same_bits_however_they_are_computed(fake_artifact: Path, model: Model) -> None:
    whole = model.logits(IDS)
    assert whole.shape == (400, 300) and whole.dtype == np.float32
    for chunks in ([400], [1, 127, 2, 270], [100] * 4, [1] * 400):
        assert np.array_equal(model.logits(IDS, chunks=chunks), whole)
    for threads in (1, 4, 9):
        with binding.load(fake_artifact, threads=threads) as other:
            assert np.array_equal(other.logits(np.array(IDS)), whole)


@pytest.mark.parametrize("chunks", [[], [399], [401], [400, 0], [-1, 401]])
def test_chunks_must_add_up(model: Model, chunks: list[int]) -> None:
    with pytest.raises(UsageError, match="400"):
        model.logits(IDS, chunks=chunks)


@pytest.mark.parametrize("ids", [[], [300], [-1], [2**40], [0.5], [[1, 2]], ["a"], list(range(300)) * 4])
def test_wrong_ids_are_refused(model: Model, ids: list[int]) -> None:
    with pytest.raises(UsageError):
        model.logits(ids)
    assert model.logits([1]).shape == (1, 300)


def test_a_session_steps_many_sequences(model: Model) -> None:
    with model.session(max_sequences=3, threads=1) as session:
        a, b = session.open(), session.open()
        both = session.step({a: IDS[:10], b: IDS[:3]})
        assert np.array_equal(both, np.concatenate([model.logits(IDS[:10]), model.logits(IDS[:3])]))
        assert np.array_equal(session.prefill(b, IDS[3:200]), model.logits(IDS[:200])[-1])
        session.truncate(b, 150)
        assert np.array_equal(session.step({b: IDS[150:160]}), model.logits(IDS[:160])[150:])
        window_page = model.info.page_bytes // 3  # of b's three, the first is out of reach
        assert session.memory()["cache_bytes"] == 4 * model.info.page_bytes + 3 * window_page
        with pytest.raises(UsageError, match="layers with a window"):
            session.truncate(b, 10)
        session.close_sequence(a)
        with pytest.raises(UsageError, match="not open"):
            session.truncate(a)
        assert {session.open(), session.open()} == {a, 2}
        with pytest.raises(DeviceError, match="all 3 sequences"):
            session.open()


def test_a_declared_context_is_a_limit(model: Model) -> None:
    with model.session(context=50) as session, pytest.raises(UsageError, match="context of 50"):
        session.prefill(session.open(), IDS[:51])


def test_text_streams_in_whole_characters(model: Model) -> None:
    pieces = [*model.generate([1], max_tokens=13)]
    assert pieces == ["H", "e", "l", "l", "o", " ", "é", "€", " ", "w"]
    assert "".join(model.generate("H", max_tokens=3)) == "ell"  # "H" has a BOS before it, so the text goes on after two tokens


def test_stop_texts_end_it_and_are_not_shown(model: Model) -> None:
    generation = model.generate([1], stop="<stop>")
    assert "".join(generation) == "Hello é€ world" and generation.reason is Reason.STOP_TEXT
    assert generation.timings["tokens"] == len(fake.RECITED) - 4 and generation.timings["decode_ns"] > 0
    assert "".join(model.generate([1], stop=["zzz", b"\x82\xac w", "rld"])) == "Hello é�"


def test_a_seed_gives_the_same_text(model: Model) -> None:
    options = {"max_tokens": 60, "temperature": 0.9, "top_k": 50, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.1}
    texts = ["".join(model.generate(IDS[:30], seed=seed, **options)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_generations_take_turns_in_one_session(model: Model) -> None:
    one, two = model.generate([1]), model.generate([1])
    assert [f"{a}{b}" for _, a, b in zip(range(3), one, two, strict=False)] == ["HH", "ee", "ll"]
    one.close()
    assert [*one] == [] and next(two) == "l"


@pytest.mark.parametrize(
    "options",
    [{"max_tokens": -1}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 2.0}, {"top_k": -1}, {"min_p": -1.0},
     {"repetition_penalty": -1.0}, {"repetition_window": -1}, {"stop": [""]}, {"stop": ["a\0b"]}, {"stop": ["a"] * 65}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_at_once(model: Model, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        model.generate([1], **options)


def test_dropped_generations_give_their_sequences_back(model: Model) -> None:
    for _ in range(3 * binding.MODEL_SEQUENCES):
        next(model.generate([1]))
        model.generate([1])
    gc.collect()
    assert "".join(model.generate([1], max_tokens=5)) == "Hello"


def test_threads_may_share_a_model(model: Model) -> None:
    want, wrong = model.logits(IDS[:50]), []

    def work() -> None:
        for _ in range(5):
            if not np.array_equal(model.logits(IDS[:50]), want) or "".join(model.generate([1], max_tokens=5)) != "Hello":
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_cancelling_a_prefill_or_generation(model: Model) -> None:
    with model.session() as session:
        sequence = session.open()
        session.cancel()
        with pytest.raises(CancelledError):
            session.prefill(sequence, IDS)
        assert session.prefill(sequence, IDS).shape == (300,)


def test_a_closed_model_says_so(fake_artifact: Path) -> None:
    model = binding.load(fake_artifact, threads=1)
    generation, tokenizer = model.generate([1]), model.tokenizer
    next(generation)
    model.close()
    model.close()
    assert [*generation] == []
    for call in (lambda: model.logits([1]), lambda: model.generate([1]), model.session, lambda: tokenizer.tokenize("a")):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_what_was_made_of_a_model_keeps_it_open(fake_artifact: Path) -> None:
    assert "".join(binding.load(fake_artifact, threads=1).generate([1], max_tokens=5)) == "Hello"
    assert binding.load(fake_artifact, threads=1).tokenizer.tokenize("a") == [256, 97]
    assert binding.load(fake_artifact, threads=1).session().open() == 0


def test_a_model_stays_open_while_a_session_of_it_is(fake_artifact: Path) -> None:
    model = binding.load(fake_artifact, threads=1)
    with model.session() as session:
        with pytest.raises(UsageError, match="still open"):
            model.close()
        session.prefill(session.open(), [1])
    model.close()


def test_two_models_at_once(fake_artifact: Path) -> None:
    with binding.load(fake_artifact, threads=1) as one, binding.load(fake_artifact, threads=2, isa="plain") as two:
        assert two.isa == "plain" and np.array_equal(one.logits(IDS), two.logits(IDS))


def test_what_cannot_be_opened(fake_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        binding.load(tmp_path / "nothing")
    with pytest.raises(MalformedFileError, match=r"artifact\.bin"):
        binding.load(tmp_path)
    with pytest.raises(ToolchainError, match="never"):
        binding.load(fake_artifact, isa="never")
    for wrong in ({"threads": 0}, {"threads": 5000}, {"context": 0}, {"context": 1001}):
        with pytest.raises(UsageError):
            binding.load(fake_artifact, **wrong)


def test_a_blob_that_is_no_tokenizer_is_refused() -> None:
    for blob in (b"", b"x", bytes(1000)):
        with pytest.raises(MalformedFileError):
            Tokenizer.from_blob(blob)


def test_text_and_tokens(model: Model) -> None:
    tokenizer = model.tokenizer
    assert tokenizer.tokenize("aé\0") == [256, 97, 195, 169, 0]
    assert tokenizer.tokenize(b"\xff" * 100, add_special=False) == [255] * 100
    assert tokenizer.detokenize([256, 97, 195, 258]) == b"a\xc3"
    assert tokenizer.detokenize([258] * 100, show_special=True) == b"<|control|>" * 100
    with pytest.raises(UsageError):
        tokenizer.detokenize([300])
