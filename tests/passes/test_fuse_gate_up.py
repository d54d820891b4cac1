import pytest

from llmc.passes.fuse_gate_up import fuse_gate_up
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %x = input f32[T,64]
        %g = weight q4_0[96,64]
        %u = weight q8_0[96,64]
        %b = weight f32[96]"""
REST = """
        %gate = linear %x, %g
        %up = linear %x, %u
        %y = silu_mul %gate, %up
        return %y"""


def test_fuses_products_of_different_formats() -> None:
    assert_rewrites(fuse_gate_up, HEAD + REST, HEAD + """
        %y = linear_silu_mul %x, %g, %u {biases=(False, False)}
        return %y""")  # fmt: skip


@pytest.mark.parametrize(("gate", "up", "biases"), [(", %b", "", "(True, False)"), ("", ", %b", "(False, True)")])
def test_keeps_the_bias_with_its_product(gate: str, up: str, biases: str) -> None:
    text = REST.replace("%x, %g", f"%x, %g{gate}").replace("%x, %u", f"%x, %u{up}")
    assert_rewrites(fuse_gate_up, HEAD + text, HEAD + f"""
        %y = linear_silu_mul %x, %g, %u, %b {{biases={biases}}}
        return %y""")  # fmt: skip


def test_keeps_the_form_of_the_result() -> None:
    assert_rewrites(fuse_gate_up, HEAD + REST.replace("%gate, %up", "%gate, %up {out='q8'}"), HEAD + """
        %y = linear_silu_mul %x, %g, %u {out='q8', biases=(False, False)}
        return %y""")  # fmt: skip


def test_keeps_products_of_different_inputs() -> None:
    assert_unchanged(fuse_gate_up, HEAD + """
        %z = input f32[T,64]""" + REST.replace("%x, %u", "%z, %u"))  # fmt: skip


def test_keeps_a_product_that_is_also_a_result() -> None:
    assert_unchanged(fuse_gate_up, HEAD + REST + ", %gate")


def test_keeps_what_one_product_gates() -> None:
    assert_unchanged(fuse_gate_up, HEAD + """
        %z = input f32[T,96]
        %gate = linear %x, %g
        %up = silu %z
        %y = silu_mul %gate, %up
        return %y""")  # fmt: skip


def test_keeps_a_scaled_product() -> None:
    assert_unchanged(fuse_gate_up, HEAD + REST.replace("%x, %u", "%x, %u {scale=0.5}"))


def test_keeps_one_product_used_twice() -> None:
    assert_unchanged(fuse_gate_up, HEAD + """
        %gate = linear %x, %g
        %y = silu_mul %gate, %gate
        return %y""")  # fmt: skip


def test_fuses_gelu_likewise() -> None:
    assert_rewrites(fuse_gate_up, HEAD + REST.replace("silu", "gelu"), HEAD + """
        %y = linear_gelu_mul %x, %g, %u {biases=(False, False)}
        return %y""")  # fmt: skip


def test_keeps_a_product_that_is_capped() -> None:
    assert_unchanged(fuse_gate_up, HEAD + REST.replace("%x, %g", "%x, %g {softcap=2.0}"))
