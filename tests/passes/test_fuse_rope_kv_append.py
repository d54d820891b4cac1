import pytest

from llmc.passes.fuse_rope_kv_append import fuse_rope_kv_append
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %q = input f32[T,64]
        %k = input f32[T,32]
        %v = input f32[T,32]
        %positions = input i32[T]
        %cache = input cache
        %f = constant f32[8] (1.0, 0.5, 0.25, 0.125, 0.1, 0.01, 0.001, 0.0001)
        %t = rope_table %positions, %f"""
ROPES = """
        %rq = rope %q, %t {heads=4, style='half'}
        %rk = rope %k, %t {heads=2, style='half'}"""
APPEND = """
        %kv = kv_append %cache, %rk, %v {layer=1, kv_heads=2, head_dim=16}"""
FUSED = """
        %rq, %kv = rope_kv_append %q, %k, %v, %t, %cache {layer=1, kv_heads=2, head_dim=16, """
REST = """
        %a = attention %rq, %kv, %positions {layer=1, heads=4, kv_heads=2, head_dim=16, scale=0.25}
        return %a, %kv"""


@pytest.mark.parametrize("style", ["half", "interleaved"])
def test_rotates_queries_and_keys_while_storing(style: str) -> None:
    fused = FUSED + f"heads=4, style='{style}'}}"
    assert_rewrites(fuse_rope_kv_append, HEAD + ROPES.replace("half", style) + APPEND + REST, HEAD + fused + REST)


def test_keeps_the_type_of_the_cache() -> None:
    append = APPEND.replace("16}", "16, dtype='f16'}")
    fused = FUSED + "dtype='f16', heads=4, style='half'}"
    assert_rewrites(fuse_rope_kv_append, HEAD + ROPES + append + REST, HEAD + fused + REST)


def test_keeps_a_layer_without_positions() -> None:
    assert_unchanged(fuse_rope_kv_append, HEAD + APPEND.replace("%rk", "%k") + REST.replace("%rq", "%q"))


@pytest.mark.parametrize("seen", ["rq", "rk"])
def test_keeps_rotated_values_somebody_else_uses(seen: str) -> None:
    assert_unchanged(fuse_rope_kv_append, HEAD + ROPES + APPEND + REST + f", %{seen}")


def test_keeps_queries_and_keys_that_rotate_differently() -> None:
    ropes = ROPES.replace("{heads=2, style='half'}", "{heads=2, style='interleaved'}")
    assert_unchanged(fuse_rope_kv_append, HEAD + ropes + APPEND + REST)


def test_keeps_queries_and_keys_that_rotate_by_two_tables() -> None:
    table = """
        %u = rope_table %positions, %f {scale=0.5}"""
    assert_unchanged(fuse_rope_kv_append, HEAD + table + ROPES.replace("%k, %t", "%k, %u") + APPEND + REST)


def test_keeps_the_rope_of_queries_that_read_the_cache_as_it_came() -> None:
    assert_unchanged(fuse_rope_kv_append, HEAD + ROPES + """
        %a = attention %rq, %cache, %positions {layer=1, heads=4, kv_heads=2, head_dim=16, scale=0.25}
        return %a, %rk""")  # fmt: skip


def test_keeps_queries_made_after_the_append() -> None:
    q, k = ROPES.strip().splitlines()
    assert_unchanged(fuse_rope_kv_append, HEAD + f"""
        {k.strip()}{APPEND}
        {q}""" + REST)  # fmt: skip
