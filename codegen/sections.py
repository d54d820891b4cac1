"""The ops of a plan as the statements of its step: what all workers share, and what one of them does alone.

A barrier stands between any two ops. Ops in a row that are too small to share in a step of few tokens become one section of the
worker that reaches it last (llmc_enter() in runtime/include/llmc_plan.h): two barriers less for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

ALONE_COLUMNS = 2048  # of f32, in all rows: a microsecond or two, which is what a barrier costs


@dataclass(frozen=True)
class Rows:
    """Work that is only shared by rows: the C expression of their number, and up to how many one worker should do."""

    count: str
    alone: int


@dataclass(frozen=True)
class Op:
    """Calls with no barrier between them. `label` numbers what a profile calls it; rows: None where even one row is shared."""

    calls: tuple[str, ...]
    label: int
    rows: Rows | None


def statements(ops: Sequence[Op]) -> list[str]:
    """The C statements, in order."""
    return [*_statements(ops)]


def syncs(ops: Sequence[Op]) -> int:
    """Barriers of a step of one token."""
    return sum(line.startswith(("llmc_done(", "if (llmc_enter(")) for line in _statements(ops))


def _statements(ops: Sequence[Op]) -> Iterator[str]:
    ended: int | None = None  # the op whose barrier is still to come
    for count, group in groupby(ops, _count):
        run = [*group]
        if count:
            yield from _section(run, run[0].label if ended is None else ended)
            ended = None
            continue
        for op in run:
            if ended is not None:
                yield _done(ended)
            yield from op.calls
            ended = op.label
    if ended is not None:
        yield _done(ended)


def _section(run: Sequence[Op], ended: int) -> Iterator[str]:
    least = min(op.rows.alone for op in run if op.rows)
    yield f"if (llmc_enter(w, {_count(run[0])} <= {least}, {ended})) {{"
    for op in run[:-1]:
        yield from (f"  {call}" for call in op.calls)
        yield f"  {_done(op.label)}"
    yield from (f"  {call}" for call in run[-1].calls)
    yield f"  llmc_leave(w, {run[-1].label});"
    yield "}"


def _done(label: int) -> str:
    return f"llmc_done(w, {label});"


def _count(op: Op) -> str:
    return op.rows.count if op.rows else ""
