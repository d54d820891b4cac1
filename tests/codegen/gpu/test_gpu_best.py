"""The best of rows of logits on a GPU, in the order of runtime/src/sampler.c."""

import numpy as np
import pytest
from numpy.typing import NDArray

from llmc.codegen.gpu.kernels.best import PART, GpuBest, parts
from tests.codegen.gpu import opencl

NO_ID = 2**31 - 1


def found(x: NDArray[np.float32], vocab: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Both launches: scores and ids [T, count]."""
    tokens, n = len(x), parts(vocab)
    room = {"scores": np.full((tokens, n, count), np.nan, np.float32), "ids": np.full((tokens, n, count), -7, np.int32)}
    part = opencl.run(
        GpuBest(True), x=x, x_ids=None, **room, n=vocab, ldx=x.shape[1], parts=n, count=count, n_tokens=tokens
    )  # fmt: skip
    room = {name: array[:, 0].copy() for name, array in room.items()}
    done = opencl.run(
        GpuBest(False), x=part["scores"], x_ids=part["ids"], **room, n=n * count, ldx=n * count, parts=1, count=count,
        n_tokens=tokens,
    )  # fmt: skip
    return done["scores"], done["ids"]


def expected(row: NDArray[np.float32], count: int) -> list[tuple[float, int]]:
    scores = [(-np.inf if np.isnan(s) else float(s), i) for i, s in enumerate(row)]
    return sorted(scores, key=lambda pair: (-pair[0], pair[1]))[:count]


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("vocab", [97, PART, 2 * PART + 5])
def test_best_tokens_of_each_row(vocab: int, count: int) -> None:
    x = np.random.default_rng(vocab).integers(-300, 300, (3, vocab + 11)).astype(np.float32)  # equals, and columns beyond
    x[:, vocab:] = 1e9
    x[1, ::3] = np.nan
    x[2, 5] = np.inf
    scores, ids = found(x, vocab, count)
    for row in range(3):
        assert list(zip(scores[row].tolist(), ids[row].tolist(), strict=True)) == expected(x[row, :vocab], count)


def test_a_row_of_nothing_gives_the_lowest_ids() -> None:
    scores, ids = found(np.full((1, 50), np.nan, np.float32), 50, 3)
    assert np.all(scores == -np.inf) and ids.tolist() == [[0, 1, 2]]


def test_fewer_than_asked_for_are_followed_by_no_id() -> None:
    _, ids = found(np.zeros((1, 5), np.float32), 5, 7)
    assert ids.tolist() == [[0, 1, 2, 3, 4, NO_ID, NO_ID]]
