"""Codebooks of vectors: points of a lattice, signs and shifts, and the numbers that go with them."""

import base64

import numpy as np
import pytest

from llmc.ir.grid import Grid, Shift, Signs
from llmc.ir.quant import Trits, Ue4m3, trit
from tests.ir.test_quant import declare


def chosen(*points: int) -> str:
    """Two to the fourth points of a lattice of four coordinates, some of them chosen."""
    bits = np.zeros(16, np.uint8)
    bits[list(points)] = 1
    return base64.b85encode(np.packbits(bits).tobytes()).decode()


def test_a_code_is_the_place_of_its_point_and_coordinates_are_lowest_digit_first() -> None:
    grid = Grid(width=4, bits=1, values=(5, 9), chosen=chosen(0b0001, 0b1010))
    assert grid.table.tolist() == [[9, 5, 5, 5], [5, 9, 5, 9]]


def test_refuses_a_grid_of_another_size() -> None:
    with pytest.raises(ValueError, match="3 points for 1-bit codes"):
        Grid(width=4, bits=1, values=(0, 1), chosen=chosen(1, 2, 3))
    with pytest.raises(ValueError, match="4 or 8 weights, not 2"):
        Grid(width=2, bits=1, values=(0, 1), chosen=chosen(1, 2))


def test_refuses_formats_whose_grid_does_not_fit() -> None:
    grid = Grid(width=4, bits=1, values=(5, 9), chosen=chosen(0, 1))
    with pytest.raises(ValueError, match="a grid of 1 bits for 4-bit codes"):
        declare(grid=grid)
    with pytest.raises(ValueError, match="signs belong to a grid"):
        declare(signs=Signs(7))
    with pytest.raises(ValueError, match="not f64"):
        declare(factor="f64")


def test_signs_negate_and_the_eighth_makes_their_number_even() -> None:
    levels = np.arange(1, 9, dtype=np.int16)[None]
    assert Signs(8).apply(levels, np.array([[0b10000001]], np.uint8)).tolist() == [[-1, 2, 3, 4, 5, 6, 7, -8]]
    assert Signs(7).apply(levels, np.array([[0b0000001]], np.uint8)).tolist() == [[-1, 2, 3, 4, 5, 6, 7, -8]]
    assert Signs(7).apply(levels, np.array([[0b0000011]], np.uint8)).tolist() == [[-1, -2, 3, 4, 5, 6, 7, 8]]
    with pytest.raises(ValueError, match="7 or 8 bits"):
        Signs(6)


def test_a_shift_moves_the_levels_of_its_weights() -> None:
    levels = np.zeros((1, 16), np.int16)
    assert Shift(-2, 8).apply(levels, np.array([[0, 1]], np.uint8)).tolist() == [[0] * 8 + [-2] * 8]


@pytest.mark.parametrize(
    ("code", "value"),
    [(0, 0.0), (1, 2.0**-9), (7, 7 * 2.0**-9), (8, 2.0**-6), (0x7E, 448.0), (0x7F, 0.0), (0x80, 0.0), (0xFF, 480.0)],
)
def test_small_floats(code: int, value: float) -> None:
    assert Ue4m3().values(np.array([code], np.uint8)).tolist() == [value]


def test_every_byte_of_trits_gives_five_digits_of_its_number() -> None:
    digits = [trit(np.arange(256, dtype=np.uint8), n).tolist() for n in range(5)]
    for byte in range(256):
        number = byte * 243 // 256  # the fraction, back
        assert [d[byte] for d in digits] == [number // 3**n % 3 for n in (4, 3, 2, 1, 0)]
    assert Trits(offset=1).values(np.array([0, 1, 2])).tolist() == [-1, 0, 1]
