"""Ops as statements: who waits for whom."""

from llmc.codegen.sections import Op, Rows, statements, syncs

TOKENS = "s->n_tokens"


def shared(name: str, label: int) -> Op:
    return Op((f"{name};",), label, None)


def by_rows(name: str, label: int, alone: int = 1, count: str = TOKENS) -> Op:
    return Op((f"{name};",), label, Rows(count, alone))


def test_shared_ops_have_a_barrier_each() -> None:
    ops = [shared("a", 0), shared("b", 1)]
    assert statements(ops) == ["a;", "llmc_done(w, 0);", "b;", "llmc_done(w, 1);"]
    assert syncs(ops) == 2


def test_a_small_op_between_shared_ones_ends_the_one_before_it() -> None:
    ops = [shared("a", 0), by_rows("n", 1, alone=4), shared("b", 2)]
    assert statements(ops) == [
        "a;",
        "if (llmc_enter(w, s->n_tokens <= 4, 0)) {",
        "  n;",
        "  llmc_leave(w, 1);",
        "}",
        "b;",
        "llmc_done(w, 2);",
    ]
    assert syncs(ops) == 2


def test_small_ops_in_a_row_are_one_section_as_large_as_the_largest_of_them_allows() -> None:
    lines = statements([by_rows("m", 0, alone=8), by_rows("n", 1, alone=2)])
    inside = ["  m;", "  llmc_done(w, 0);", "  n;", "  llmc_leave(w, 1);"]
    assert lines == ["if (llmc_enter(w, s->n_tokens <= 2, 0)) {", *inside, "}"]


def test_ops_over_different_rows_are_different_sections() -> None:
    ops = [by_rows("m", 0), by_rows("n", 1, count="s->n_rows")]
    assert sum(line.startswith("if") for line in statements(ops)) == syncs(ops) == 2
