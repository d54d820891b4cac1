"""Ops on streams of rows: what a reader would compute by hand."""

import numpy as np
import pytest

from llmc.ir.catalogue import CATALOGUE, OpError, infer
from llmc.ir.types import f32

ROWS = np.array([[1, 2], [3, 4]], np.float32)


def test_rows_are_mixed_by_their_own_coefficients() -> None:
    coefficients = np.array([[9, 2, 0], [9, 0, -1]], np.float32)
    (y,) = CATALOGUE["mix_rows"].compute([coefficients, ROWS, ROWS, 10 * ROWS], {"first": 1})
    assert y.tolist() == [[3, 6], [-27, -36]]
    (y,) = CATALOGUE["mix_rows"].compute([coefficients, ROWS, ROWS], {"first": 2, "plus": 1.0})
    assert y.tolist() == [[2, 4], [3, 4]]
    with pytest.raises(OpError, match="a coefficient for each stream"):
        infer("mix_rows", [f32("T", 3), f32("T", 2), f32("T", 2), f32("T", 2)], {"first": 2})


def test_a_row_becomes_as_large_as_another() -> None:
    (y,) = CATALOGUE["match_magnitude"].compute([ROWS, np.array([[2, 4], [0, 0]], np.float32)], {"least": 1e-5})
    np.testing.assert_allclose(y, [[2, 4], [0, 0]])


def test_what_does_not_stand_out_is_cut() -> None:
    (y,) = CATALOGUE["sparsify"].compute([np.array([[0, 0, 0, 4]], np.float32)], {"deviations": 1.0})
    np.testing.assert_allclose(y, [[0, 0, 0, 3 - 3**0.5]], rtol=1e-6)


def test_ids_beyond_a_table_are_the_first() -> None:
    (y,) = CATALOGUE["known_ids"].compute([np.array([0, 4, 5, 9], np.int32)], {"count": 5})
    assert y.tolist() == [0, 4, 0, 0]
