from llmc.passes.eliminate_dead import eliminate_dead
from tests.passes.rewrites import assert_rewrites, assert_unchanged


def test_drops_a_chain_nobody_uses_with_its_weight() -> None:
    assert_rewrites(eliminate_dead, """
        %x = input f32[T,64]
        %w = weight q4_0[64,64]
        %c = constant f32[2] (1.0, 2.0)
        %y = linear %x, %w
        %z = silu %y
        %r = silu %x
        return %r""", """
        %x = input f32[T,64]
        %r = silu %x
        return %r""")  # fmt: skip


def test_keeps_inputs_nobody_uses() -> None:
    assert_unchanged(eliminate_dead, """
        %x = input f32[T,64]
        %rows = input i32[R]
        %r = silu %x
        return %r""")  # fmt: skip


def test_keeps_a_node_of_which_one_output_is_used() -> None:
    assert_unchanged(eliminate_dead, """
        %x = input f32[T,64]
        %a = weight q4_0[64,64]
        %b = weight q4_0[32,64]
        %y, %z = linear_group %x, %a, %b {biases=(False, False)}
        return %z""")  # fmt: skip
