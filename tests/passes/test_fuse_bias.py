from llmc.passes.fuse_bias import fuse_bias
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %w = weight q4_0[32,64]
        %b = weight f32[32]"""


def test_adds_the_bias_in_the_product() -> None:
    assert_rewrites(fuse_bias, HEAD + """
        %y = linear %x, %w
        %z = add_bias %y, %b
        return %z""", HEAD + """
        %z = linear %x, %w, %b
        return %z""", rtol=1e-5)  # fmt: skip


def test_keeps_a_bias_added_to_a_product_with_another_user() -> None:
    assert_unchanged(fuse_bias, HEAD + """
        %y = linear %x, %w
        %z = add_bias %y, %b
        return %z, %y""")  # fmt: skip


def test_keeps_a_bias_added_to_something_else() -> None:
    assert_unchanged(fuse_bias, """
        %x = input f32[T,64]
        %b = weight f32[64]
        %y = silu %x
        %z = add_bias %y, %b
        return %z""")  # fmt: skip


def test_keeps_a_second_bias() -> None:
    assert_unchanged(fuse_bias, HEAD + """
        %y = linear %x, %w, %b
        %z = add_bias %y, %b
        return %z""")  # fmt: skip


def test_keeps_a_bias_added_after_the_scale() -> None:
    assert_unchanged(fuse_bias, HEAD + """
        %y = linear %x, %w {scale=0.5}
        %z = add_bias %y, %b
        return %z""")  # fmt: skip


def test_keeps_a_bias_added_after_the_cap() -> None:
    assert_unchanged(fuse_bias, HEAD + """
        %y = linear %x, %w {softcap=2.0}
        %z = add_bias %y, %b
        return %z""")  # fmt: skip
