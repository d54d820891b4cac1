import pytest

from llmc.frontend.quant import FORMATS
from llmc.passes.fuse_dequant_matmul import fuse_dequant_matmul
from tests.passes.rewrites import assert_rewrites, assert_unchanged


@pytest.mark.parametrize("name", FORMATS)
def test_reads_the_stored_weight_in_every_format(name: str) -> None:
    assert_rewrites(fuse_dequant_matmul, f"""
        %x = input f32[T,256]
        %w = weight {name}[48,256]
        %m = dequantize %w
        %y = matmul %x, %m
        return %y""", f"""
        %x = input f32[T,256]
        %w = weight {name}[48,256]
        %y = linear %x, %w
        return %y""")  # fmt: skip


def test_serves_two_products_of_one_weight() -> None:
    assert_rewrites(fuse_dequant_matmul, """
        %x = input f32[T,64]
        %w = weight q8_0[64,64]
        %m = dequantize %w
        %y = matmul %x, %m
        %z = matmul %y, %m
        return %z""", """
        %x = input f32[T,64]
        %w = weight q8_0[64,64]
        %y = linear %x, %w
        %z = linear %y, %w
        return %z""")  # fmt: skip


def test_keeps_the_dequantized_matrix_that_is_also_a_result() -> None:
    assert_rewrites(fuse_dequant_matmul, """
        %x = input f32[T,64]
        %w = weight q8_0[64,64]
        %m = dequantize %w
        %y = matmul %x, %m
        return %y, %m""", """
        %x = input f32[T,64]
        %w = weight q8_0[64,64]
        %m = dequantize %w
        %y = linear %x, %w
        return %y, %m""")  # fmt: skip


def test_keeps_the_dequantized_matrix_another_op_uses() -> None:
    assert_rewrites(fuse_dequant_matmul, """
        %x = input f32[64,64]
        %w = weight q8_0[64,64]
        %m = dequantize %w
        %y = matmul %x, %m
        %z = mul %y, %m
        return %z""", """
        %x = input f32[64,64]
        %w = weight q8_0[64,64]
        %m = dequantize %w
        %y = linear %x, %w
        %z = mul %y, %m
        return %z""")  # fmt: skip


def test_keeps_a_dequantized_matrix_that_is_multiplied_from_the_right() -> None:
    assert_rewrites(fuse_dequant_matmul, """
        %v = weight q8_0[32,64]
        %w = weight q8_0[64,64]
        %x = dequantize %v
        %m = dequantize %w
        %y = matmul %x, %m
        return %y""", """
        %v = weight q8_0[32,64]
        %w = weight q8_0[64,64]
        %x = dequantize %v
        %y = linear %x, %w
        return %y""")  # fmt: skip


def test_keeps_a_product_of_two_activations() -> None:
    assert_unchanged(fuse_dequant_matmul, """
        %x = input f32[T,64]
        %w = input f32[32,64]
        %y = matmul %x, %w
        return %y""")  # fmt: skip
