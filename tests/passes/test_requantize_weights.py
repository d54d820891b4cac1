"""Which matrices take another format, and which stay."""

import pytest

from llmc.errors import UsageError
from llmc.passes.requantize_weights import requantize_weights
from llmc.requantization import formats_for
from tests.passes.rewrites import assert_rewrites, assert_unchanged

TO_Q4_K = requantize_weights.bind(formats=formats_for("q4_k"))


def test_matrices_of_layers_take_the_format_and_the_head_one_of_more_bits() -> None:
    assert_rewrites(TO_Q4_K, """
        %t = input i32[T]
        %e = weight f16[512,256]
        %w = weight f16[256,256]
        %h = weight f16[512,256]
        %n = weight f32[256]
        %x = embedding %t, %e
        %y = linear %x, %w
        %z = rms_norm %y, %n {eps=1e-05}
        %l = linear %z, %h
        %c = softcap %l {cap=30.0}
        return %c""", """
        %t = input i32[T]
        %e = weight q4_k[512,256]
        %w = weight q4_k[256,256]
        %h = weight q6_k[512,256]
        %n = weight f32[256]
        %x = embedding %t, %e
        %y = linear %x, %w
        %z = rms_norm %y, %n {eps=1e-05}
        %l = linear %z, %h
        %c = softcap %l {cap=30.0}
        return %c""", rtol=None)  # fmt: skip


def test_a_tied_embedding_is_a_head() -> None:
    assert_rewrites(TO_Q4_K, """
        %t = input i32[T]
        %e = weight f16[512,256]
        %x = embedding %t, %e
        %l = linear %x, %e
        return %l""", """
        %t = input i32[T]
        %e = weight q6_k[512,256]
        %x = embedding %t, %e
        %l = linear %x, %e
        return %l""", rtol=None)  # fmt: skip


@pytest.mark.parametrize(("columns", "fmt"), [(512, "q4_k"), (288, "q5_0"), (72, "f16")])
def test_a_row_that_is_no_whole_blocks_takes_smaller_ones(columns: int, fmt: str) -> None:
    text = """
        %x = input f32[T,{k}]
        %n = weight f32[64]
        %w = weight {fmt}[64,{k}]
        %y = linear %x, %w
        %z = rms_norm %y, %n {{eps=1e-05}}
        return %z"""
    assert_rewrites(TO_Q4_K, text.format(k=columns, fmt="f32"), text.format(k=columns, fmt=fmt), rtol=None)


def test_what_a_router_reads_and_matrices_of_a_few_rows_stay() -> None:
    assert_unchanged(TO_Q4_K, """
        %x = input f32[T,256]
        %r = weight f32[32,256]
        %g = weight f32[1,256]
        %l = linear %x, %r
        %i, %w = router %l {used=2, gate="softmax", normalize=True}
        %s = linear %x, %g
        return %i, %w, %s""")  # fmt: skip


def test_learned_positions_stay() -> None:
    assert_unchanged(TO_Q4_K, """
        %positions = input i32[T]
        %e = weight f32[512,256]
        %x = embedding %positions, %e
        return %x""")  # fmt: skip


def test_a_format_of_more_bits_than_the_heads_serves_there_too() -> None:
    formats = formats_for("q8_0")
    assert formats.head == formats.others and [f.name for f in formats.others] == ["q8_0", "f16"]


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="iq4_nl"):
        formats_for("iq4_nl")
