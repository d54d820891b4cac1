import numpy as np
import pytest

from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Builder, Edit, Graph, Names, Node, Uses, Value
from llmc.ir.ops import OpError
from llmc.ir.text import parse_graph, print_graph
from llmc.ir.types import DType, TensorType, f32, i32
from llmc.ir.verify import verify

CHAIN = """\
%x = input f32[T,8]
%a = silu %x
%b = silu %a
%c = mul %a, %b
return %c, %a"""


def chain() -> tuple[Graph, dict[str, Node]]:
    graph = parse_graph(CHAIN)
    return graph, {node.outputs[0].name: node for node in graph.nodes}


def test_builder_infers_types_and_makes_names_unique() -> None:
    b = Builder({"T": 4})
    x = b.input("x", f32("T", 8))
    y, z = b.emit("silu", x), b.emit("silu", x)
    assert (y.name, z.name, y.type) == ("silu", "silu.1", f32("T", 8))
    assert b.emit("silu", x, name="gate.0").name == "gate.0"
    verify(b.graph(y, z))


def test_builder_gives_a_tensor_one_value_and_a_name_that_parses() -> None:
    b = Builder()
    hostile = 'blk 0, "x" # {%}\n'
    first, second = (b.weight(hostile, TensorType(DType.F32, (8,))) for _ in range(2))
    assert first is second and first.name == "blk_0___x________"


def test_builder_refuses_operands_that_do_not_fit_and_names_the_op() -> None:
    b = Builder({"T": 4})
    with pytest.raises(OpError, match=r"^add\(f32\[T,8\], f32\[T,4\]\): shapes differ$"):
        b.emit("add", b.input("x", f32("T", 8)), b.input("y", f32("T", 4)))


def test_builder_puts_sources_first() -> None:
    b = Builder({"T": 4})
    y = b.emit("silu", b.input("x", f32("T", 2)))
    c = b.constant("c", np.ones((4, 2), np.float32))
    assert [node.op for node in b.graph(y, c).nodes] == ["input", "constant", "silu"]


def test_a_weight_and_its_rows_are_different_values_made_once() -> None:
    b = Builder()
    whole, part = TensorType(FORMATS["q4_0"], (64, 32)), TensorType(FORMATS["q4_0"], (16, 32))
    values = [b.weight("w", whole), b.weight("w", part, (0, 16)), b.weight("w", part, (16, 32)), b.weight("w", part, (0, 16))]
    assert [v.name for v in values] == ["w", "w.0", "w.16", "w.0"] and values[1] is values[3]
    assert [dict(node.attrs) for node in b.graph().nodes] == [
        {"tensor": "w"}, {"tensor": "w", "rows": (0, 16)}, {"tensor": "w", "rows": (16, 32)},
    ]  # fmt: skip


def test_names_never_repeat() -> None:
    names = Names(["a", "a.2"])
    assert [names.fresh("a") for _ in range(3)] == ["a.1", "a.3", "a.4"]
    assert names.fresh("") == "_"


def test_uses_knows_makers_and_users() -> None:
    graph, nodes = chain()
    uses = Uses(graph)
    a, b, c, x = (nodes[name].output for name in "abcx")
    assert uses.users(a) == [nodes["b"], nodes["c"], None]
    assert uses.only_user(b) is nodes["c"] and uses.only_user(a) is None and uses.only_user(c) is None
    assert uses.made_by(a, "silu") is nodes["a"] and uses.made_by(a, "mul") is None
    assert uses.is_source(x) and not uses.is_source(a)
    elsewhere = Value("elsewhere", x.type)
    assert not uses.is_source(elsewhere) and uses.made_by(elsewhere, "silu") is None and uses.users(elsewhere) == []


def test_a_value_used_twice_by_one_node_has_no_only_user() -> None:
    graph = parse_graph("%x = input f32[2]\n%a = silu %x\n%b = mul %a, %a\nreturn %b")
    assert Uses(graph).only_user(graph.nodes[1].output) is None


def test_edit_replaces_in_place_and_drops() -> None:
    graph, nodes = chain()
    edit = Edit(graph)
    edit.replace(nodes["c"], "silu_mul", (nodes["a"].output, nodes["a"].output), out="f32")
    edit.drop(nodes["b"])
    assert edit.touched(nodes["b"]) and not edit.touched(nodes["a"])
    assert print_graph(edit.graph()).splitlines()[1:] == [
        "%x = input f32[T,8]", "%a = silu %x  # f32[T,8]", "%c = silu_mul %a, %a {out='f32'}  # f32[T,8]", "return %c, %a",
    ]  # fmt: skip


def test_edit_replaces_a_node_by_one_with_other_results() -> None:
    graph, nodes = chain()
    edit = Edit(graph)
    b = nodes["b"].output
    edit.replace(nodes["b"], "rms_norm", (b, b), (edit.value("b", b.type), edit.value("b", b.type)), out="f32+q8")
    assert [v.name for v in edit.graph().nodes[2].outputs] == ["b.1", "b.2"]


def test_edit_renames_every_use_and_result() -> None:
    graph, nodes = chain()
    edit = Edit(graph)
    edit.rename(nodes["b"].output, nodes["a"].output)
    edit.rename(nodes["a"].output, nodes["x"].output)
    edited = edit.graph()
    assert [v.name for v in edited.nodes[3].inputs] == ["x", "x"] and [v.name for v in edited.results] == ["c", "x"]


def test_edit_inserts_before_a_node_under_a_new_name() -> None:
    graph, nodes = chain()
    edit = Edit(graph)
    new = edit.insert_before(nodes["b"], "scale", (nodes["a"].output,), f32("T", 8), "a", factor=2.0)
    edit.replace(nodes["b"], "silu", (new,))
    edited = edit.graph()
    verify(edited)
    assert new.name == "a.1" and [node.op for node in edited.nodes] == ["input", "silu", "scale", "silu", "mul"]


def test_edit_moves_new_sources_to_the_front() -> None:
    graph, nodes = chain()
    edit = Edit(graph)
    constant = Node("constant", (), nodes["b"].outputs, {}, np.ones((4, 8), np.float32))
    edit.swap(nodes["b"], constant)
    assert [node.op for node in edit.graph().nodes] == ["input", "constant", "silu", "mul"]


def test_edit_leaves_the_old_graph_alone_and_keeps_attributes() -> None:
    graph, nodes = chain()
    edit = Edit(Graph(graph.nodes, graph.results, graph.bounds, {"arena": 64}))
    edit.drop(nodes["b"])
    assert dict(edit.graph(depth=2).attrs) == {"arena": 64, "depth": 2} and len(graph.nodes) == 4


def test_values_and_nodes_refuse_changes() -> None:
    node = Node("silu", (), (Value("x", i32("T")),), {"a": 1})
    with pytest.raises(TypeError):
        node.attrs["a"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        node.op = "mul"  # type: ignore[misc]
    graph = Graph((node,), (), {"T": 4}, {"arena": 64})
    for mapping in (graph.bounds, graph.attrs):
        with pytest.raises(TypeError):
            mapping["T"] = 8  # type: ignore[index]
    assert node.with_attrs(b=2).attrs == {"a": 1, "b": 2}


def test_a_dimension_must_be_positive() -> None:
    with pytest.raises(ValueError, match="dimension 0"):
        f32("T", 0)
