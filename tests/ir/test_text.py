import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph, Node, Value
from llmc.ir.text import ParseError, parse_graph, print_graph
from llmc.ir.types import CACHE, DType, TensorType, f32, i32
from tests.passes.models import decoder

EVERYTHING = """\
bounds T=128 R=64
attrs {arena=4096, kind='step'}
%tokens = input i32[T]
%kv = input cache
%c = constant f32[2] (1.0, 0.10000000149011612)
%m = constant f32[2,2] (1.0, -2.0, 2.5, 0.0)
%blk.0.w = weight q4_0[64,32] {tensor='blk.0.w', layout='tile16'}
%x = embedding %tokens, %blk.0.w {scale=0.5, at=(0,)}  # f32[T,32]
%y, %z = linear_group %x, %blk.0.w, %blk.0.w {biases=(False, False), at=(0, -1)}  # f32[T,64] f32[T,64]
return %y, %kv, %c, %m, %z
"""


def test_prints_what_it_parsed() -> None:
    assert print_graph(parse_graph(EVERYTHING, FORMATS)) == EVERYTHING


def test_parses_types_attributes_bounds_and_data() -> None:
    graph = parse_graph(EVERYTHING, FORMATS)
    nodes = {node.outputs[0].name: node for node in graph.nodes}
    assert (graph.bounds, graph.attrs) == ({"T": 128, "R": 64}, {"arena": 4096, "kind": "step"})
    assert nodes["tokens"].output.type == i32("T") and nodes["kv"].output.type == CACHE
    assert nodes["blk.0.w"].output.type == TensorType(FORMATS["q4_0"], (64, 32))
    assert nodes["y"].attrs == {"biases": (False, False), "at": (0, -1)}
    np.testing.assert_array_equal(nodes["m"].data, np.array([[1, -2], [2.5, 0]], np.float32))


@pytest.mark.parametrize("family", ["llama", "qwen3", "smollm3"])
def test_a_frontend_graph_survives_the_round_trip(family: str) -> None:
    text = print_graph(decoder(family).graph)
    assert print_graph(parse_graph(text, FORMATS)) == text


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9))
def test_constants_keep_every_bit(data: list[float]) -> None:
    value = Value("c", f32(len(data)))
    graph = Graph((Node("constant", (), (value,), {}, np.array(data, np.float32)),), (value,))
    (node,) = parse_graph(print_graph(graph)).nodes
    assert node.data is not None and node.data.tobytes() == np.array(data, np.float32).tobytes()


literals = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("ab #{}'\"\\,=%\n\u2028"),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["at", "eps", "name"]), literals, max_size=3))
def test_attributes_keep_their_values(attrs: dict[str, object]) -> None:
    value = Value("x", f32("T", 8))
    graph = Graph((Node("input", (), (value,), attrs),), (value,))
    (node,) = parse_graph(print_graph(graph)).nodes
    assert node.attrs == attrs


def test_infinite_constants_print_and_parse() -> None:
    (node,) = parse_graph("%c = constant f32[2] (inf, -inf)\nreturn %c").nodes
    assert node.data is not None and node.data.tolist() == [math.inf, -math.inf]


def test_comments_and_blank_lines_are_skipped() -> None:
    graph = parse_graph("# a comment\n\n  # another\n%x = input f32[T,8]  # its type\nreturn %x # done")
    assert len(graph.nodes) == 1


def test_a_text_without_bounds_has_those_of_a_step() -> None:
    assert parse_graph("%x = input f32[T,8]\nreturn %x").bounds == {"T": 128, "R": 128}


def test_a_weight_is_its_own_tensor_unless_told() -> None:
    graph = parse_graph("%w = weight q8_0[32,32]\n%v = weight q8_0[32,32] {tensor='other # {x}'}\nreturn %w", FORMATS)
    assert [node.attrs["tensor"] for node in graph.nodes] == ["w", "other # {x}"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("%y = silu %nothing", "KeyError"),
        ("%y = silu", "not enough values|unpack|IndexError|list index"),
        ("%y = frobnicate %x", "unknown op"),
        ("%y = input f64[T]", "f64"),
        ("%y = input f32[T", "not a type"),
        ("%y = input f32[0,8]", "dimension 0"),
        ("y = silu %x", "not `%name"),
        ("%y, %z = silu %x", "zip"),
        ("%y = constant f32[3] (1.0)", "reshape"),
        ("%y = scale %x {factor=undefined}", "malformed node"),
        ("%y = scale %x {factor=", "braces"),
        ("%y = scale %x {factor=(1, 2}", "SyntaxError"),
        ("attrs arena=64", "braces"),
        ("attrs arena=64}", "braces"),
        ("return %nothing", "KeyError"),
        ("bounds T", "unpack"),
    ],
)
def test_a_line_that_is_no_graph_is_reported_with_its_number(line: str, why: str) -> None:
    with pytest.raises(ParseError, match=rf"(?s)^line 2: .*({why})"):
        parse_graph(f"%x = input f32[T,8]\n{line}")


def test_weights_need_their_formats() -> None:
    with pytest.raises(ParseError, match="q4_0"):
        parse_graph("%w = weight q4_0[64,32]\nreturn %w")


def test_types_print_as_they_parse() -> None:
    assert [str(t) for t in (CACHE, f32("T", 8), TensorType(DType.Q8, ("R", 32)))] == ["cache", "f32[T,8]", "q8[R,32]"]
