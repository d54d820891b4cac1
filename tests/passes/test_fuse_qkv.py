from llmc.passes.fuse_qkv import fuse_qkv
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %q = weight q4_0[64,64]
        %k = weight q4_0[32,64]
        %v = weight q8_0[32,64]
        %b = weight f32[32]"""


def test_groups_three_products_of_two_formats_with_one_bias() -> None:
    assert_rewrites(fuse_qkv, HEAD + """
        %a = linear %x, %q
        %c = linear %x, %k, %b
        %d = silu %a
        %e = linear %x, %v
        return %d, %c, %e""", HEAD + """
        %a, %c, %e = linear_group %x, %q, %k, %v, %b {biases=(False, True, False)}
        %d = silu %a
        return %d, %c, %e""")  # fmt: skip


def test_groups_by_input() -> None:
    assert_rewrites(fuse_qkv, HEAD + """
        %z = silu %x
        %a = linear %x, %q
        %c = linear %z, %k
        %d = linear %x, %v
        %e = linear %z, %v
        return %a, %c, %d, %e""", HEAD + """
        %z = silu %x
        %a, %d = linear_group %x, %q, %v {biases=(False, False)}
        %c, %e = linear_group %z, %k, %v {biases=(False, False)}
        return %a, %c, %d, %e""")  # fmt: skip


def test_groups_what_reads_quantised_activations_apart_from_what_does_not() -> None:
    assert_rewrites(fuse_qkv, HEAD + """
        %h = weight f16[32,64]
        %x8 = quantize %x
        %a = linear %x8, %q
        %c = linear %x, %h
        %d = linear %x8, %v
        return %a, %c, %d""", HEAD + """
        %h = weight f16[32,64]
        %x8 = quantize %x
        %a, %d = linear_group %x8, %q, %v {biases=(False, False)}
        %c = linear %x, %h
        return %a, %c, %d""")  # fmt: skip


def test_keeps_a_single_product() -> None:
    assert_unchanged(fuse_qkv, HEAD + """
        %a = linear %x, %q
        %c = linear %a, %k
        return %c""")  # fmt: skip


def test_keeps_scaled_products() -> None:
    assert_unchanged(fuse_qkv, HEAD + """
        %a = linear %x, %q {scale=0.5}
        %c = linear %x, %k
        return %a, %c""")  # fmt: skip


def test_keeps_a_product_whose_bias_is_computed_after_the_first() -> None:
    assert_unchanged(fuse_qkv, HEAD + """
        %n = input f32[32]
        %a = linear %x, %q
        %m = silu %n
        %c = linear %x, %k, %m
        return %a, %c""")  # fmt: skip


def test_keeps_a_product_that_is_capped() -> None:
    assert_unchanged(fuse_qkv, HEAD + """
        %a = linear %x, %q {softcap=2.0}
        %c = linear %x, %k
        return %a, %c""")  # fmt: skip
