from llmc.passes.base import run
from llmc.passes.hoist_take_rows import hoist_take_rows
from llmc.passes.pipeline import RAISE
from tests.passes.models import decoder
from tests.passes.rewrites import assert_rewrites, assert_unchanged, graph

HEAD = """
        %x = input f32[T,64]
        %rows = input i32[R]
        %w = weight q4_0[64,64]
        %n = weight f32[64]"""


def test_takes_rows_before_a_feed_forward_block_and_its_residual() -> None:
    assert_rewrites(hoist_take_rows, HEAD + """
        %h = rms_norm %x, %n {eps=1e-05}
        %y = linear %h, %w
        %s = add %x, %y
        %t = take_rows %s, %rows
        return %t""", HEAD + """
        %x.rows = take_rows %x, %rows
        %h = rms_norm %x.rows, %n {eps=1e-05}
        %y = linear %h, %w
        %s = add %x.rows, %y
        return %s""")  # fmt: skip


def test_takes_rows_before_columns() -> None:
    assert_rewrites(hoist_take_rows, HEAD + """
        %i = weight i32[64]
        %c = take_columns %x, %i
        %y = linear %c, %w
        %t = take_rows %y, %rows
        return %t""", HEAD + """
        %i = weight i32[64]
        %x.rows = take_rows %x, %rows
        %c = take_columns %x.rows, %i
        %y = linear %c, %w
        return %y""")  # fmt: skip


def test_leaves_a_computed_bias_whole() -> None:
    assert_rewrites(hoist_take_rows, HEAD + """
        %b = input f32[64]
        %c = silu %b
        %y = linear %x, %w, %c
        %t = take_rows %y, %rows
        return %t""", HEAD + """
        %b = input f32[64]
        %c = silu %b
        %x.rows = take_rows %x, %rows
        %y = linear %x.rows, %w, %c
        return %y""")  # fmt: skip


def test_stops_at_an_op_that_mixes_tokens() -> None:
    assert_rewrites(hoist_take_rows, HEAD + """
        %positions = input i32[T]
        %cache = input cache
        %kv = kv_append %cache, %x, %x {layer=0, kv_heads=4, head_dim=16}
        %a = attention %x, %kv, %positions {layer=0, heads=4, kv_heads=4, head_dim=16, scale=0.25}
        %y = linear %a, %w
        %t = take_rows %y, %rows
        return %t""", HEAD + """
        %positions = input i32[T]
        %cache = input cache
        %kv = kv_append %cache, %x, %x {layer=0, kv_heads=4, head_dim=16}
        %a = attention %x, %kv, %positions {layer=0, heads=4, kv_heads=4, head_dim=16, scale=0.25}
        %a.rows = take_rows %a, %rows
        %y = linear %a.rows, %w
        return %y""")  # fmt: skip


def test_shares_the_rows_of_a_value_that_keeps_all_of_them_elsewhere() -> None:
    assert_rewrites(hoist_take_rows, HEAD + """
        %a = silu %x
        %b = silu %a
        %t = take_rows %b, %rows
        %u = take_rows %a, %rows
        return %t, %u, %a""", HEAD + """
        %a = silu %x
        %a.rows = take_rows %a, %rows
        %b = silu %a.rows
        return %b, %a.rows, %a""")  # fmt: skip


def test_keeps_two_selections_apart() -> None:
    assert_rewrites(hoist_take_rows, HEAD + """
        %other = input i32[R]
        %a = silu %x
        %b = linear %x, %w
        %t = take_rows %a, %rows
        %u = take_rows %b, %other
        return %t, %u""", HEAD + """
        %other = input i32[R]
        %x.rows = take_rows %x, %rows
        %a = silu %x.rows
        %x.rows.1 = take_rows %x, %other
        %b = linear %x.rows.1, %w
        return %a, %b""")  # fmt: skip


def test_keeps_a_value_selected_in_two_ways() -> None:
    assert_unchanged(hoist_take_rows, HEAD + """
        %other = input i32[R]
        %a = silu %x
        %t = take_rows %a, %rows
        %u = take_rows %a, %other
        return %t, %u""")  # fmt: skip


def test_keeps_a_value_that_is_also_a_result() -> None:
    assert_unchanged(hoist_take_rows, HEAD + """
        %a = silu %x
        %t = take_rows %a, %rows
        return %t, %a""")  # fmt: skip


def test_keeps_rows_of_products_with_quantised_activations() -> None:
    assert_unchanged(hoist_take_rows, HEAD + """
        %q = quantize %x
        %y = linear %q, %w
        %t = take_rows %y, %rows
        return %t""")  # fmt: skip


def test_takes_rows_before_a_router_and_its_experts() -> None:
    experts = """
        %g = weight q4_0[4,96,64]
        %d = weight q8_0[4,64,96]
        %r = weight f32[4,64]"""
    assert_rewrites(hoist_take_rows, HEAD + experts + """
        %l = linear %x, %r
        %i, %p = router %l {used=2, gate='softmax', normalize=True}
        %y = experts %x, %i, %p, %g, %g, %d
        %t = take_rows %y, %rows
        return %t""", HEAD + experts + """
        %x.rows = take_rows %x, %rows
        %l = linear %x.rows, %r
        %i, %p = router %l {used=2, gate='softmax', normalize=True}
        %y = experts %x.rows, %i, %p, %g, %g, %d
        return %y""")  # fmt: skip


def test_keeps_a_router_of_which_one_result_is_needed_whole() -> None:
    assert_unchanged(hoist_take_rows, HEAD + """
        %i, %p = router %x {used=2, gate='softmax', normalize=True}
        %t = take_rows %p, %rows
        return %t, %i""")  # fmt: skip


def test_leaves_one_layer_of_a_decoder_on_the_wanted_rows() -> None:
    """Everything after the last attention, and nothing before it."""
    narrowed = run([*RAISE, hoist_take_rows], decoder(layers=3).graph)
    on_rows = [node.op for node in narrowed.nodes if node.outputs[0].type.shape[:1] == ("R",) and node.op != "input"]
    feed_forward = ["rms_norm", "linear", "linear", "silu_mul", "linear", "add"]
    assert on_rows == ["take_rows", "linear", "take_rows", "add", *feed_forward, "rms_norm", "linear"]


def test_does_nothing_without_take_rows() -> None:
    text = HEAD + """
        %a = silu %x
        return %a"""  # fmt: skip
    assert_unchanged(hoist_take_rows, text)
    assert hoist_take_rows(graph(text)).results[0].type.shape == ("T", 64)
