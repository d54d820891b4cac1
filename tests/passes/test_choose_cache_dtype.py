import pytest

from llmc.passes.choose_cache_dtype import choose_cache_dtype
from tests.passes.rewrites import assert_rewrites, assert_unchanged

GRAPH = """
        %q = input f32[T,64]
        %k = input f32[T,32]
        %v = input f32[T,32]
        %positions = input i32[T]
        %cache = input cache
        %kv = kv_append %cache, %k, %v {layer=1, kv_heads=2, head_dim=16}
        %a = attention %q, %kv, %positions {layer=1, heads=4, kv_heads=2, head_dim=16, scale=0.25}
        return %a, %kv"""


# f16 keeps 11 bits of each key and value, q8 about 7, and a softmax of the products sees both errors
@pytest.mark.parametrize(("dtype", "rtol"), [("f32", 0.0), ("f16", 2**-9), ("q8", 2**-4)])
def test_says_it_where_the_cache_is_written_and_read(dtype: str, rtol: float) -> None:
    after = GRAPH.replace("=16}", f"=16, dtype='{dtype}'}}").replace("=0.25}", f"=0.25, dtype='{dtype}'}}")
    assert_rewrites(choose_cache_dtype.bind(dtype=dtype), GRAPH, after, rtol=rtol)


def test_leaves_ops_without_a_cache_alone() -> None:
    assert_unchanged(choose_cache_dtype.bind(dtype="f16"), """
        %x = input f32[T,64]
        %y = silu %x
        return %y""")  # fmt: skip
