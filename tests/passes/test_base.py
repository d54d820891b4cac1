from pathlib import Path

import pytest

from llmc.debug import scoped
from llmc.errors import UsageError
from llmc.ir.graph import Graph
from llmc.ir.text import parse_graph
from llmc.ir.verify import VerifyError
from llmc.passes.base import graph_pass, required_pass, run
from llmc.passes.eliminate_dead import eliminate_dead
from llmc.passes.fuse_silu_mul import fuse_silu_mul
from tests.passes.rewrites import graph

SWIGLU = """
    %gate = input f32[T,64]
    %up = input f32[T,64]
    %a = silu %gate
    %y = mul %a, %up
    %unused = silu %y
    return %y"""


@graph_pass
def lose_a_value(graph: Graph) -> Graph:
    """Drops the first computation.

    Wrong on purpose.
    """
    return graph.with_nodes(node for node in graph.nodes if node.op != "silu")


def test_applies_passes_in_order() -> None:
    assert [node.op for node in run([eliminate_dead, fuse_silu_mul], graph(SWIGLU)).nodes] == ["input", "input", "silu_mul"]


def test_names_the_pass_that_breaks_the_graph() -> None:
    with pytest.raises(VerifyError, match="^after lose_a_value: mul input %a is not defined$"):
        run([eliminate_dead, lose_a_value], graph(SWIGLU))


def test_says_that_the_frontend_broke_the_graph() -> None:
    broken = graph(SWIGLU)
    with pytest.raises(VerifyError, match="^after the frontend: "):
        run([], broken.with_nodes(broken.nodes[1:]))


def test_leaves_out_what_the_environment_says() -> None:
    with scoped(LLMC_PASSES="-fuse_silu_mul"):
        kept = run([eliminate_dead, fuse_silu_mul], graph(SWIGLU))
    assert [node.op for node in kept.nodes] == ["input", "input", "silu", "mul"]


def test_refuses_a_pass_it_does_not_have() -> None:
    with scoped(LLMC_PASSES="-fuse_silu"), pytest.raises(UsageError, match="no pass fuse_silu; the passes are eliminate_dead"):
        run([eliminate_dead], graph(SWIGLU))


def test_refuses_to_leave_out_what_codegen_needs() -> None:
    needed = required_pass(eliminate_dead.function)
    with scoped(LLMC_PASSES="-eliminate_dead"), pytest.raises(UsageError, match="eliminate_dead cannot be left out"):
        run([needed], graph(SWIGLU))
    with scoped(LLMC_PASSES="-fuse_silu_mul"):
        assert len(run([needed, fuse_silu_mul], graph(SWIGLU)).nodes) == 4


def test_dumps_each_graph_before_and_after_and_a_table_of_times(tmp_path: Path) -> None:
    with scoped(LLMC_DUMP=str(tmp_path / "dump"), LLMC_PASSES="-eliminate_dead"):
        after = run([eliminate_dead, fuse_silu_mul], graph(SWIGLU))
    files = {file.name: file.read_text() for file in (tmp_path / "dump").iterdir()}
    assert sorted(files) == ["02-fuse_silu_mul.after.ir", "02-fuse_silu_mul.before.ir", "passes.txt"]
    assert [n.op for n in parse_graph(files["02-fuse_silu_mul.before.ir"]).nodes] == ["input", "input", "silu", "mul", "silu"]
    assert [n.op for n in parse_graph(files["02-fuse_silu_mul.after.ir"]).nodes] == [n.op for n in after.nodes]
    header, row, total = files["passes.txt"].splitlines()
    assert header.split() == ["pass", "ms", "verify", "ms", "nodes", "after"]
    assert row.split()[0] == "fuse_silu_mul" and row.split()[3:] == ["5", "4"]
    assert total.split()[0] == "all"


def test_a_dump_holds_the_graph_a_pass_failed_on(tmp_path: Path) -> None:
    with scoped(LLMC_DUMP=str(tmp_path)), pytest.raises(VerifyError):
        run([lose_a_value], graph(SWIGLU))
    assert [file.name for file in tmp_path.iterdir()] == ["01-lose_a_value.before.ir"]


def test_writes_nothing_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run([eliminate_dead], graph(SWIGLU))
    assert not list(tmp_path.iterdir())


def test_a_pass_has_a_name_a_summary_and_arguments() -> None:
    @graph_pass
    def rename_bound(graph: Graph, to: str) -> Graph:
        return Graph(graph.nodes, graph.results, {to: 8})

    assert (lose_a_value.name, lose_a_value.summary) == ("lose_a_value", "Drops the first computation.")
    bound = rename_bound.bind(to="U")
    assert rename_bound.summary == "" and bound.name == "rename_bound" and bound(graph(SWIGLU)).bounds == {"U": 8}
