from llmc.passes.fuse_softcap import fuse_softcap
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %w = weight q4_0[32,64]"""


def test_caps_where_the_product_is_written() -> None:
    assert_rewrites(fuse_softcap, HEAD + """
        %l = linear %x, %w {scale=0.5}
        %y = softcap %l {cap=3.0}
        return %y""", HEAD + """
        %y = linear %x, %w {scale=0.5, softcap=3.0}
        return %y""")  # fmt: skip


def test_keeps_logits_that_are_also_used_uncapped() -> None:
    assert_unchanged(fuse_softcap, HEAD + """
        %l = linear %x, %w
        %y = softcap %l {cap=3.0}
        return %y, %l""")  # fmt: skip


def test_caps_once() -> None:
    assert_unchanged(fuse_softcap, HEAD + """
        %l = linear %x, %w {softcap=2.0}
        %y = softcap %l {cap=3.0}
        return %y""")  # fmt: skip
