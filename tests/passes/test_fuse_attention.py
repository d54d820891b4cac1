import pytest

from llmc.passes.fuse_attention import fuse_attention
from tests.passes.rewrites import assert_rewrites, assert_unchanged

HEAD = """
        %q = input f32[T,64]
        %k = input f32[T,32]
        %v = input f32[T,32]
        %positions = input i32[T]
        %cache = input cache
        %kv = kv_append %cache, %k, %v {layer=3, kv_heads=2, head_dim=16}"""
OF = "{layer=3, heads=4, kv_heads=2, head_dim=16, scale=0.25}"
SCORES = f"""
        %s = attention_scores %q, %kv {OF}"""
REST = f"""
        %p = softmax_causal %s, %positions
        %a = attention_values %p, %kv {OF}
        return %a, %kv"""


def test_makes_scores_softmax_and_values_one_op() -> None:
    assert_rewrites(fuse_attention, HEAD + SCORES + REST, HEAD + f"""
        %a = attention %q, %kv, %positions {OF}
        return %a, %kv""")  # fmt: skip


@pytest.mark.parametrize("seen", ["s", "p"])
def test_keeps_scores_and_probabilities_somebody_looks_at(seen: str) -> None:
    assert_unchanged(fuse_attention, HEAD + SCORES + REST + f", %{seen}")


def test_keeps_scores_that_are_changed_before_the_softmax() -> None:
    assert_unchanged(fuse_attention, HEAD + SCORES.replace("%s", "%t") + """
        %s = scale %t {factor=0.5}""" + REST)  # fmt: skip


def test_keeps_values_of_another_cache() -> None:
    assert_unchanged(fuse_attention, """
        %other = input cache""" + HEAD + SCORES + REST.replace("%p, %kv", "%p, %other"))  # fmt: skip


def test_keeps_values_mixed_by_something_else() -> None:
    assert_unchanged(fuse_attention, """
        %p = input f32[T,4,16]""" + HEAD + f"""
        %a = attention_values %p, %kv {OF}
        return %a, %kv""")  # fmt: skip


def test_keeps_values_of_another_layer() -> None:
    assert_unchanged(fuse_attention, HEAD + SCORES.replace("layer=3", "layer=2") + REST)


def test_keeps_sinks() -> None:
    head = """
        %sinks = input f32[4]""" + HEAD
    assert_rewrites(fuse_attention, head + SCORES + REST.replace("%positions", "%positions, %sinks"), head + f"""
        %a = attention %q, %kv, %positions, %sinks {OF}
        return %a, %kv""")  # fmt: skip


def test_keeps_cap_and_window() -> None:
    capped, windowed = SCORES.replace("}", ", softcap=2.0}"), REST.replace("%positions", "%positions {window=2}")
    assert_rewrites(fuse_attention, HEAD + capped + windowed, HEAD + f"""
        %a = attention %q, %kv, %positions {OF[:-1]}, softcap=2.0, window=2}}
        return %a, %kv""")  # fmt: skip
