from llmc.passes.fuse_add_rms_norm import fuse_add_rms_norm
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %o = input f32[T,64]
        %w = weight f32[64]"""


def test_fuses_the_sum_that_stays_the_residual_stream() -> None:
    assert_rewrites(fuse_add_rms_norm, HEAD + """
        %s = add %x, %o
        %t = silu %s
        %n = rms_norm %s, %w {eps=1e-05}
        %y = add %s, %n
        return %y, %t""", HEAD + """
        %s, %n = add_rms_norm %x, %o, %w {eps=1e-05}
        %t = silu %s
        %y = add %s, %n
        return %y, %t""")  # fmt: skip


def test_keeps_alpha_and_the_forms_of_the_norm() -> None:
    assert_rewrites(fuse_add_rms_norm, HEAD + """
        %s = add %x, %o {alpha=0.25}
        %n, %m = rms_norm %s, %w {eps=1e-05, out='f32+q8'}
        return %n, %m, %s""", HEAD + """
        %s, %n, %m = add_rms_norm %x, %o, %w {alpha=0.25, eps=1e-05, out='f32+q8'}
        return %n, %m, %s""")  # fmt: skip


def test_fuses_the_first_of_two_norms_of_one_sum() -> None:
    assert_rewrites(fuse_add_rms_norm, HEAD + """
        %s = add %x, %o
        %n = rms_norm %s, %w {eps=1e-05}
        %m = rms_norm %s, %w {eps=1e-06}
        return %n, %m""", HEAD + """
        %s, %n = add_rms_norm %x, %o, %w {eps=1e-05}
        %m = rms_norm %s, %w {eps=1e-06}
        return %n, %m""")  # fmt: skip


def test_keeps_a_norm_of_something_else() -> None:
    assert_unchanged(fuse_add_rms_norm, HEAD + """
        %s = mul %x, %o
        %n = rms_norm %s, %w {eps=1e-05}
        return %n""")  # fmt: skip


def test_keeps_a_norm_whose_weight_is_computed() -> None:
    assert_unchanged(fuse_add_rms_norm, HEAD + """
        %v = input f32[64]
        %s = add %x, %o
        %u = silu %v
        %n = rms_norm %s, %u {eps=1e-05}
        return %n""")  # fmt: skip


def test_fuses_a_layer_norm_with_its_bias() -> None:
    assert_rewrites(fuse_add_rms_norm, HEAD + """
        %s = add %x, %o
        %n = layer_norm %s, %w, %w {eps=1e-05}
        return %n, %s""", HEAD + """
        %s, %n = add_layer_norm %x, %o, %w, %w {eps=1e-05}
        return %n, %s""")  # fmt: skip


def test_keeps_a_layer_norm_whose_bias_is_computed() -> None:
    assert_unchanged(fuse_add_rms_norm, HEAD + """
        %s = add %x, %o
        %b = add %w, %w
        %n = layer_norm %s, %w, %b {eps=1e-05}
        return %n, %s""")  # fmt: skip
