"""What a pass is, and how a list of them is run: verified, timed and dumped one by one.

    @graph_pass
    def fuse_silu_mul(graph: Graph) -> Graph: ...

    graph = run([fold_constants, fuse_silu_mul], graph)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmc import debug
from llmc.errors import UsageError
from llmc.ir.graph import Graph
from llmc.ir.text import print_graph
from llmc.ir.verify import verify


@dataclass(frozen=True)
class Pass:
    """A named function Graph -> Graph.

    bound     the arguments it takes besides the graph
    required  codegen needs what it decides, so LLMC_PASSES cannot leave it out
    """

    name: str
    function: Callable[..., Graph]
    bound: Mapping[str, Any] = field(default_factory=dict)
    required: bool = False

    def __call__(self, graph: Graph) -> Graph:
        return self.function(graph, **self.bound)

    def bind(self, **arguments: Any) -> Pass:
        """The same pass with these arguments set."""
        return replace(self, bound={**self.bound, **arguments})

    @property
    def summary(self) -> str:
        """The first paragraph of the function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n\n")[0]


def graph_pass(function: Callable[..., Graph]) -> Pass:
    """Makes a pass of a function and names it after it."""
    return Pass(function.__name__, function)


def required_pass(function: Callable[..., Graph]) -> Pass:
    """A pass codegen cannot do without."""
    return replace(graph_pass(function), required=True)


@dataclass(frozen=True)
class Timing:
    """One pass as it ran: seconds of the pass and of the verifier, nodes before and after."""

    name: str
    seconds: float
    verify_seconds: float
    nodes_before: int
    nodes_after: int


def run(passes: Sequence[Pass], graph: Graph) -> Graph:
    """Applies `passes` in order and verifies the graph after each, so that a broken graph is reported with its pass.

    LLMC_PASSES=-name leaves a pass out (UsageError for one that is required, or not in the list). LLMC_DUMP=DIR writes
    `03-name.before.ir`, `03-name.after.ir` and `passes.txt`, a table of times, into DIR.
    """
    disabled = _disabled(passes)
    dump = debug.dump_dir()
    verify(graph, after="the frontend")
    timings = []
    for number, each in enumerate(passes, 1):
        if each.name in disabled:
            continue
        _dump_graph(dump, f"{number:02d}-{each.name}.before.ir", graph)
        graph, timing = _timed(each, graph)
        _dump_graph(dump, f"{number:02d}-{each.name}.after.ir", graph)
        timings.append(timing)
    if dump is not None:
        (dump / "passes.txt").write_text(_table(timings))
    return graph


def _disabled(passes: Sequence[Pass]) -> frozenset[str]:
    names = [each.name for each in passes]
    disabled = debug.disabled_passes()
    if unknown := sorted(disabled - set(names)):
        raise UsageError(f"LLMC_PASSES: no pass {', '.join(unknown)}", hint="the passes are " + ", ".join(dict.fromkeys(names)))
    if required := [each.name for each in passes if each.required and each.name in disabled]:
        raise UsageError(f"LLMC_PASSES: {', '.join(required)} cannot be left out", hint="codegen needs what it decides")
    return disabled


def _timed(each: Pass, graph: Graph) -> tuple[Graph, Timing]:
    start = time.perf_counter()
    after = each(graph)
    done = time.perf_counter()
    verify(after, after=each.name)
    return after, Timing(each.name, done - start, time.perf_counter() - done, len(graph.nodes), len(after.nodes))


def _dump_graph(folder: Path | None, name: str, graph: Graph) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(print_graph(graph))


def _table(timings: Sequence[Timing]) -> str:
    lines = [f"{'pass':24} {'ms':>9} {'verify ms':>9} {'nodes':>7} {'after':>7}"]
    lines += [f"{t.name:24} {_times(t.seconds, t.verify_seconds)} {t.nodes_before:7d} {t.nodes_after:7d}" for t in timings]
    lines += [f"{'all':24} {_times(sum(t.seconds for t in timings), sum(t.verify_seconds for t in timings))}"]
    return "\n".join(lines) + "\n"


def _times(*seconds: float) -> str:
    return " ".join(f"{1e3 * s:9.3f}" for s in seconds)
