"""Each rule of the verifier has a graph that breaks it."""

import numpy as np
import pytest

from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph, Node, Value
from llmc.ir.text import parse_graph
from llmc.ir.types import CACHE, TensorType, f32, i32
from llmc.ir.verify import VerifyError, verify
from tests.passes.models import decoder

X, Y = Value("x", f32("T", 64)), Value("y", f32("T", 64))
INPUT, SILU = Node("input", (), (X,)), Node("silu", (X,), (Y,))


def graph(*nodes: Node, results: tuple[Value, ...] = (), **attrs: int) -> Graph:
    return Graph(nodes, results, {"T": 16}, attrs)


def refused(broken: Graph, message: str) -> None:
    with pytest.raises(VerifyError, match=f"^after a_pass: {message}"):
        verify(broken, after="a_pass")


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "granite", "smollm3"])
def test_what_the_frontend_makes_is_sound(family: str) -> None:
    verify(decoder(family).graph)


def test_a_sound_graph_passes() -> None:
    verify(graph(INPUT, SILU, results=(Y,)))


def test_a_value_is_its_name_and_type_not_an_object() -> None:
    again = Value("x", f32("T", 64))
    assert again is not X
    verify(graph(INPUT, Node("silu", (again,), (Y,)), results=(Value("y", Y.type),)))


def test_1_sources_come_first() -> None:
    late = Node("input", (), (Value("z", f32("T", 8)),))
    refused(graph(INPUT, SILU, late), "source %z stands after a computation")


def test_2_an_operand_is_defined() -> None:
    refused(graph(SILU), "silu input %x is not defined")


def test_2_an_operand_is_defined_before_its_use() -> None:
    z = Value("z", f32("T", 64))
    refused(graph(INPUT, Node("silu", (Y,), (z,)), SILU), "silu input %y is not defined")


def test_2_a_result_is_defined() -> None:
    refused(graph(INPUT, results=(Y,)), "output %y is not defined")


def test_2_a_value_is_defined_once() -> None:
    refused(graph(INPUT, SILU, SILU), "%y is defined twice")


def test_2_a_use_names_the_type_of_the_definition() -> None:
    other = Value("x", f32("T", 32))
    silu = Node("silu", (other,), (Value("y", other.type),))
    refused(graph(INPUT, silu), r"%x is f32\[T,64\], silu takes it for f32\[T,32\]")
    refused(graph(INPUT, results=(other,)), r"%x is f32\[T,64\], return takes it for f32\[T,32\]")


def test_3_an_op_is_in_the_catalogue() -> None:
    refused(graph(INPUT, Node("frobnicate", (X,), (Y,))), "unknown op frobnicate")


def test_3_outputs_carry_the_inferred_types() -> None:
    wrong = Node("silu", (X,), (Value("y", f32("T", 32)),))
    refused(graph(INPUT, wrong), r"silu gives f32\[T,64\], its outputs say f32\[T,32\]")
    refused(graph(INPUT, Node("silu", (X,), (Y, Value("z", Y.type)))), r"silu gives f32\[T,64\], its outputs say f32\[T,64\] f32")


def test_3_operands_fit() -> None:
    w = Value("w", TensorType(FORMATS["q4_0"], (64, 32)))
    weight = Node("weight", (), (w,), {"tensor": "w"})
    refused(graph(INPUT, weight, Node("linear", (X, w), (Y,))), r"linear\(f32\[T,64\], q4_0\[64,32\]\): 64 columns times 32")


def test_3_attributes_an_op_needs_are_there() -> None:
    w = Value("w", f32(64))
    refused(graph(INPUT, Node("input", (), (w,)), Node("head_norm", (X, w), (Y,))), "head_norm.*heads")


def test_4_constants_hold_data_of_their_shape() -> None:
    c = Value("c", f32(2))
    refused(graph(Node("constant", (), (c,))), "constant %c has no data of its shape")
    refused(graph(Node("constant", (), (c,), {}, np.ones(3, np.float32))), "constant %c has no data of its shape")


def test_4_weights_name_a_tensor_and_have_a_format_and_a_fixed_shape() -> None:
    q4 = TensorType(FORMATS["q4_0"], (64, 32))
    refused(graph(Node("weight", (), (Value("w", q4),))), "weight %w names no tensor")
    for type in (f32(64, 32), TensorType(FORMATS["q4_0"], ("T", 32))):
        refused(graph(Node("weight", (), (Value("w", type),), {"tensor": "w"})), "weight %w is .* a format and a fixed shape")


def test_4_rows_of_a_weight_are_whole_blocks() -> None:
    type = TensorType(FORMATS["q4_k"], (64, 32))
    weight = Node("weight", (), (Value("w", type),), {"tensor": "w"})
    refused(graph(weight), r"weight %w: rows of q4_k\[64,32\] are no whole blocks of 256")


def test_4_every_dimension_has_a_bound() -> None:
    refused(graph(Node("input", (), (Value("r", i32("R")),))), "%r: no bound for dimension R")


APPEND = """
    %k = input f32[T,32]
    %c = input cache
    %a = kv_append %c, %k, %k {layer=0, kv_heads=2, head_dim=16}"""


def test_5_a_cache_is_appended_to_once() -> None:
    refused(parse_graph(APPEND + """
    %b = kv_append %c, %k, %k {layer=1, kv_heads=2, head_dim=16}
    return %b"""), "kv_append uses %c after it was appended to")  # fmt: skip


def test_5_a_cache_is_not_read_after_it_was_appended_to() -> None:
    refused(parse_graph(APPEND + "\nreturn %a, %c"), "return uses %c after it was appended to")
    refused(parse_graph("%p = input i32[T]" + APPEND + """
    %y = attention %k, %c, %p {layer=0, heads=2, kv_heads=2, head_dim=16, scale=1.0}
    return %y, %a"""), "attention uses %c after it was appended to")  # fmt: skip


@pytest.mark.parametrize("attr", [float("nan"), float("inf"), np.float32(1), [1, 2], None, (1, None), CACHE])
def test_6_attributes_are_plain_literals(attr: object) -> None:
    refused(graph(INPUT, Node("silu", (X,), (Y,), {"a": attr})), "silu %y: attribute a is ")


def test_7_values_of_a_plan_do_not_overlap() -> None:
    z = Value("z", X.type)
    nodes = (INPUT, Node("silu", (X,), (Y,), {"at": (0,)}), Node("silu", (X,), (z,), {"at": (64,)}))
    refused(graph(*nodes, Node("mul", (Y, z), (Value("r", X.type),), {"at": (8192,)}), arena=16384), "%z at 64 overlaps %y at 0")


def test_without_a_pass_the_message_stands_alone() -> None:
    with pytest.raises(VerifyError, match="^unknown op frobnicate$"):
        verify(graph(INPUT, Node("frobnicate", (X,), (Y,))))
