import pytest

from llmc.passes.fuse_silu_mul import fuse_silu_mul
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %gate = input f32[T,64]
        %up = input f32[T,64]
        %a = silu %gate"""


@pytest.mark.parametrize("operands", ["%a, %up", "%up, %a"])
def test_fuses_silu_with_one_user_on_either_side(operands: str) -> None:
    assert_rewrites(fuse_silu_mul, HEAD + f"""
        %y = mul {operands}
        return %y""", """
        %gate = input f32[T,64]
        %up = input f32[T,64]
        %y = silu_mul %gate, %up
        return %y""")  # fmt: skip


def test_fuses_one_side_where_both_are_activated() -> None:
    assert_rewrites(fuse_silu_mul, HEAD + """
        %b = silu %up
        %y = mul %a, %b
        return %y""", """
        %gate = input f32[T,64]
        %up = input f32[T,64]
        %b = silu %up
        %y = silu_mul %gate, %b
        return %y""")  # fmt: skip


def test_keeps_silu_that_is_also_an_output() -> None:
    assert_unchanged(fuse_silu_mul, HEAD + """
        %y = mul %a, %up
        return %y, %a""")  # fmt: skip


def test_keeps_silu_that_is_squared() -> None:
    assert_unchanged(fuse_silu_mul, HEAD + """
        %y = mul %a, %a
        return %y""")  # fmt: skip


def test_fuses_gelu_likewise() -> None:
    assert_rewrites(fuse_silu_mul, """
        %gate = input f32[T,64]
        %up = input f32[T,64]
        %a = gelu %gate
        %y = mul %a, %up
        return %y""", """
        %gate = input f32[T,64]
        %up = input f32[T,64]
        %y = gelu_mul %gate, %up
        return %y""")  # fmt: skip
