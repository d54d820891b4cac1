"""Progress of a long command on stderr: bars with the time left on a terminal, lines with -v elsewhere, silence otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmc import debug

if TYPE_CHECKING:
    from llmc import Progress


@contextmanager
def shown(*, quiet: bool, verbose: bool) -> Iterator[Progress | None]:
    """Gives a callback (phase, done, total) for the time of a with block; None where nothing is to be shown."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _lines() if verbose else None


def _lines() -> Progress:
    """A line when a phase begins, with the seconds since the start."""
    begun = time.monotonic()
    seen: set[str] = set()

    def report(phase: str, done: float, total: float) -> None:
        if phase not in seen:
            seen.add(phase)
            print(f"{time.monotonic() - begun:7.2f} s  {phase}", file=sys.stderr, flush=True)

    return report


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True, no_color=debug.no_color())
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(phase: str, done: float, total: float) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total or None)
            bars.update(tasks[phase], completed=done, total=total or None)

        yield report
