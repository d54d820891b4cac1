import pytest

from llmc.passes.fuse_quantize import MAKERS, fuse_quantize
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %z = input f32[T,64]
        %n = weight f32[64]
        %four = weight f32[4]
        %g = weight q4_0[64,64]"""
# left side of the maker of %y, and the maker up to its attributes
MAKES = {
    "rms_norm": ("%y", "rms_norm %x, %n {eps=1e-05"),
    "add_rms_norm": ("%s, %y", "add_rms_norm %x, %z, %n {eps=1e-05"),
    "silu_mul": ("%y", "silu_mul %x, %z {"),
    "linear_silu_mul": ("%y", "linear_silu_mul %x, %g, %g {biases=(False, False)"),
    "layer_norm": ("%y", "layer_norm %x, %n {eps=1e-05"),
    "add_layer_norm": ("%s, %y", "add_layer_norm %x, %z, %n, %n {eps=1e-05"),
    "gelu": ("%y", "gelu %x {"),
    "gelu_erf": ("%y", "gelu_erf %x {"),
    "relu2": ("%y", "relu2 %x {"),
    "relu": ("%y", "relu %x {"),
    "xielu": ("%y", "xielu %x, %four {"),
    "sigmoid_mul": ("%y", "sigmoid_mul %x, %z {"),
    "gelu_mul": ("%y", "gelu_mul %x, %z {"),
    "gelu_erf_mul": ("%y", "gelu_erf_mul %x, %z {"),
    "linear_gelu_erf_mul": ("%y", "linear_gelu_erf_mul %x, %g, %g {biases=(False, False)"),
    "linear_gelu_mul": ("%y", "linear_gelu_mul %x, %g, %g {biases=(False, False)"),
}


def in_forms(start: str, out: str) -> str:
    return start + ("" if start.endswith("{") else ", ") + f"out='{out}'}}"


def plain(right: str) -> str:
    return right.removesuffix(" {") if right.endswith(" {") else right + "}"


def test_every_maker_has_a_text_here() -> None:
    assert set(MAKES) == set(MAKERS)


@pytest.mark.parametrize("op", MAKERS)
def test_makes_the_quantised_form_alone(op: str) -> None:
    left, right = MAKES[op]
    assert_rewrites(fuse_quantize, HEAD + f"""
        {left} = {plain(right)}
        %q = quantize %y
        %r = linear %q, %g
        return %r""", HEAD + f"""
        {left.replace("%y", "%q")} = {in_forms(right, "q8")}
        %r = linear %q, %g
        return %r""")  # fmt: skip


@pytest.mark.parametrize("op", MAKERS)
def test_makes_both_forms_where_both_are_used(op: str) -> None:
    left, right = MAKES[op]
    assert_rewrites(fuse_quantize, HEAD + f"""
        {left} = {plain(right)}
        %q = quantize %y
        %r = linear %q, %g
        return %r, %y""", HEAD + f"""
        {left}, %q = {in_forms(right, "f32+q8")}
        %r = linear %q, %g
        return %r, %y""")  # fmt: skip


def test_keeps_the_quantised_sum_of_an_add_rms_norm() -> None:
    assert_unchanged(fuse_quantize, HEAD + """
        %s, %y = add_rms_norm %x, %z, %n {eps=1e-05}
        %q = quantize %s
        return %q, %y""")  # fmt: skip


def test_keeps_a_quantize_after_an_op_without_forms() -> None:
    assert_unchanged(fuse_quantize, HEAD + """
        %y = silu %x
        %q = quantize %y
        return %q""")  # fmt: skip


def test_keeps_a_second_quantize_of_one_value() -> None:
    assert_rewrites(fuse_quantize, HEAD + """
        %y = silu_mul %x, %z
        %q = quantize %y
        %p = quantize %y
        return %q, %p""", HEAD + """
        %y, %q = silu_mul %x, %z {out='f32+q8'}
        %p = quantize %y
        return %q, %p""")  # fmt: skip
