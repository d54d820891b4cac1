import pytest

from llmc.errors import UnsupportedModelError
from llmc.passes.choose_layout import choose_layout
from tests.passes.rewrites import assert_rewrites, assert_unchanged, graph


def test_tiles_matrices_and_stores_vectors_plainly() -> None:
    text = """
        %x = input f32[T,64]
        %a = weight q4_0[64,64] {{tensor='a'{tile}}}
        %b = weight f32[64] {{tensor='b'{vector}}}
        %c = weight q8_0[64,64] {{tensor='c'{tile}}}
        %d = weight f16[64,64] {{tensor='d'{tile}}}
        %n = weight bf16[64] {{tensor='n'{vector}}}
        %h = weight f32[16] {{tensor='h'{vector}}}
        %y = rms_norm %x, %n {{eps=1e-05}}
        %q, %k = linear_group %y, %a, %c, %b {{biases=(False, True)}}
        %r = head_norm %q, %h {{heads=4, eps=1e-05}}
        %s, %t = add_rms_norm %r, %k, %n {{eps=1e-05}}
        %u = linear_silu_mul %t, %a, %d, %b {{biases=(True, False)}}
        %v = linear %u, %d, %b
        return %v, %s"""
    after = text.format(tile=", layout='tile16'", vector=", layout='vector'")
    assert_rewrites(choose_layout, text.format(tile="", vector=""), after)


def test_stores_the_taps_of_a_convolution_column_by_column() -> None:
    text = """
        %x = input f32[T,64]
        %kv = input cache
        %w = weight f16[64,4] {{tensor='w'{columns}}}
        %b = weight f32[64] {{tensor='b'{vector}}}
        %y, %a = causal_conv %kv, %x, %w, %b {{layer=0}}
        %z, %c = gated_conv %a, %x, %x, %y, %w, %b {{layer=0}}
        return %z, %c"""
    after = text.format(columns=", layout='columns'", vector=", layout='vector'")
    assert_rewrites(choose_layout, text.format(columns="", vector=""), after)


def test_stores_a_tied_embedding_once() -> None:
    text = """
        %tokens = input i32[T]
        %w = weight q4_0[96,64] {{tensor='w'{tile}}}
        %x = embedding %tokens, %w
        %y = linear %x, %w
        return %y"""
    assert_rewrites(choose_layout, text.format(tile=""), text.format(tile=", layout='tile16'"))


def test_stores_the_factors_of_columns_plainly() -> None:
    text = """
        %x = input f32[T,64]
        %f = weight bf16[64] {{tensor='f'{vector}}}
        %b = weight f16[64] {{tensor='b'{vector}}}
        %y = scale_columns %x, %f, %b
        return %y"""
    assert_rewrites(choose_layout, text.format(vector=""), text.format(vector=", layout='vector'"))


def test_keeps_indices_whole() -> None:
    text = """
        %x = input f32[T,64]
        %i = weight i32[64] {{tensor='i'{indices}}}
        %y = take_columns %x, %i
        return %y"""
    assert_rewrites(choose_layout, text.format(indices=""), text.format(indices=", layout='indices'"))


def test_tiles_experts() -> None:
    text = """
        %x = input f32[T,64]
        %i = input i32[T,2]
        %p = input f32[T,2]
        %g = weight q4_0[4,96,64] {{tensor='g'{tile}}}
        %u = weight q4_0[4,96,64] {{tensor='u'{tile}}}
        %d = weight q8_0[4,64,96] {{tensor='d'{tile}}}
        %y = experts %x, %i, %p, %g, %u, %d
        return %y"""
    parsed = choose_layout(graph(text.format(tile="")))
    assert [node.attrs["layout"] for node in parsed.of_kind("weight")] == ["tile16"] * 3


def test_refuses_a_weight_in_two_layouts() -> None:
    with pytest.raises(UnsupportedModelError, match="tensor w is needed as tile16 and as vector"):
        choose_layout(graph("""
            %x = input f32[T,64]
            %w = weight f32[64,64] {tensor='w'}
            %y = linear %x, %w
            %z = add_bias %y, %w
            return %z"""))  # fmt: skip


def test_refuses_a_weight_no_kernel_reads() -> None:
    with pytest.raises(UnsupportedModelError, match="tensor w is used by dequantize"):
        choose_layout(graph("""
            %w = weight q4_0[64,64] {tensor='w'}
            %z = dequantize %w
            return %z"""))  # fmt: skip


def test_leaves_a_weight_nobody_uses_alone() -> None:
    assert_unchanged(choose_layout, """
        %x = input f32[T,64]
        %w = weight q4_0[64,64]
        return %x""")  # fmt: skip
