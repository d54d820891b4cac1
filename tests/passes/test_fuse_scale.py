from llmc.passes.fuse_scale import fuse_scale
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %w = weight q4_0[64,64]
        %b = weight f32[64]"""


def test_scales_in_the_product_bias_included() -> None:
    assert_rewrites(fuse_scale, HEAD + """
        %y = linear %x, %w, %b
        %z = scale %y {factor=0.3}
        return %z""", HEAD + """
        %z = linear %x, %w, %b {scale=0.3}
        return %z""", rtol=1e-5)  # fmt: skip


def test_multiplies_with_a_scale_that_is_there() -> None:
    assert_rewrites(fuse_scale, HEAD + """
        %y = linear %x, %w {scale=4.0}
        %z = scale %y {factor=0.5}
        return %z""", HEAD + """
        %z = linear %x, %w {scale=2.0}
        return %z""")  # fmt: skip


def test_scales_in_the_embedding() -> None:
    assert_rewrites(fuse_scale, """
        %tokens = input i32[T]
        %w = weight q4_0[64,64]
        %y = embedding %tokens, %w
        %z = scale %y {factor=12.0}
        return %z""", """
        %tokens = input i32[T]
        %w = weight q4_0[64,64]
        %z = embedding %tokens, %w {scale=12.0}
        return %z""")  # fmt: skip


def test_scales_in_the_residual_addition() -> None:
    assert_rewrites(fuse_scale, HEAD + """
        %y = silu %x
        %z = scale %y {factor=0.3}
        %s = add %x, %z
        return %s""", HEAD + """
        %y = silu %x
        %s = add %x, %y {alpha=0.3}
        return %s""")  # fmt: skip


def test_prefers_the_product_to_the_addition() -> None:
    assert_rewrites(fuse_scale, HEAD + """
        %y = linear %x, %w
        %z = scale %y {factor=0.5}
        %s = add %x, %z
        return %s""", HEAD + """
        %z = linear %x, %w {scale=0.5}
        %s = add %x, %z
        return %s""")  # fmt: skip


def test_keeps_the_scale_of_a_product_with_another_user() -> None:
    assert_unchanged(fuse_scale, HEAD + """
        %y = linear %x, %w
        %z = scale %y {factor=0.3}
        return %z, %y""")  # fmt: skip


def test_keeps_the_scale_of_a_factor() -> None:
    assert_unchanged(fuse_scale, HEAD + """
        %y = silu %x
        %z = scale %y {factor=0.3}
        %s = mul %x, %z
        return %s""")  # fmt: skip


def test_keeps_the_scale_of_the_first_addend() -> None:
    assert_unchanged(fuse_scale, HEAD + """
        %z = scale %x {factor=0.3}
        %s = add %z, %x
        return %s""")  # fmt: skip


def test_keeps_a_scaled_value_that_is_also_a_result() -> None:
    assert_unchanged(fuse_scale, HEAD + """
        %y = silu %x
        %z = scale %y {factor=0.3}
        %s = add %x, %z
        return %s, %z""")  # fmt: skip


def test_keeps_a_scale_of_capped_logits() -> None:
    assert_unchanged(fuse_scale, HEAD + """
        %y = linear %x, %w {softcap=2.0}
        %z = scale %y {factor=0.5}
        return %z""")  # fmt: skip
