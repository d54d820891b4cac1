import numpy as np

from llmc.passes.fold_constants import fold_constants
from tests.passes.rewrites import assert_rewrites, assert_unchanged, graph


def test_divides_rope_frequencies_by_their_factors() -> None:
    assert_rewrites(fold_constants, """
        %p = input i32[T]
        %f = constant f32[2] (1.0, 0.5)
        %d = constant f32[2] (1.0, 3.0)
        %q = div %f, %d
        %t = rope_table %p, %q
        return %t""", """
        %p = input i32[T]
        %f = constant f32[2] (1.0, 0.5)
        %d = constant f32[2] (1.0, 3.0)
        %q = constant f32[2] (1.0, 0.1666666716337204)
        %t = rope_table %p, %q
        return %t""")  # fmt: skip


def test_folds_what_it_has_folded() -> None:
    assert_rewrites(fold_constants, """
        %a = constant f32[2] (1.0, 2.0)
        %b = add %a, %a {alpha=3.0}
        %c = mul %b, %a
        %d = scale %c {factor=0.5}
        return %d""", """
        %a = constant f32[2] (1.0, 2.0)
        %b = constant f32[2] (4.0, 8.0)
        %c = constant f32[2] (4.0, 16.0)
        %d = constant f32[2] (2.0, 8.0)
        return %d""")  # fmt: skip


def test_rounds_as_float32_does() -> None:
    (folded,) = fold_constants(graph("""
        %a = constant f32[1] (1.0)
        %b = constant f32[1] (10.0)
        %c = div %a, %b
        return %c""")).of_kind("constant")[2:]  # fmt: skip
    assert folded.data is not None and folded.data.tobytes() == (np.float32(1) / np.float32(10)).tobytes()


def test_keeps_transcendental_functions_of_constants() -> None:
    assert_unchanged(fold_constants, """
        %a = constant f32[2] (1.0, 2.0)
        %b = silu %a
        return %b""")  # fmt: skip


def test_keeps_arithmetic_on_inputs() -> None:
    assert_unchanged(fold_constants, """
        %x = input f32[2]
        %a = constant f32[2] (1.0, 2.0)
        %b = mul %x, %a
        return %b""")  # fmt: skip
